package verifier

import (
	"time"
)

// Kind is how a row differs from the log.
type Kind string

// The kinds of difference.
const (
	// Missing: the log has it, the history does not.
	Missing Kind = "missing"
	// Surplus: the history has it, the log does not.
	Surplus Kind = "surplus"
	// Differs: both have it, and not alike.
	Differs Kind = "differs"
	// Doubled: the history has it more than once.
	Doubled Kind = "doubled"
)

// Difference is one row that is not what the log says.
type Difference struct {
	Kind Kind `json:"kind"`
	// Row names it: topic/partition/offset, a delivery's id, or an hour of a webhook.
	Row string `json:"row"`
	// Detail says what differs, for people.
	Detail string `json:"detail,omitempty"`
}

// Partition is what was compared of one partition.
type Partition struct {
	Partition int32 `json:"partition"`
	// First and End are the offsets compared, End not included.
	First int64 `json:"first"`
	End   int64 `json:"end"`
	// Records and Rows are how many there are in them, RecordSum and RowSum the
	// sums of their hashes: XXH64 of the rows made from the records, and of the rows.
	Records   uint64 `json:"records"`
	Rows      uint64 `json:"rows"`
	RecordSum uint64 `json:"record_sum,string"`
	RowSum    uint64 `json:"row_sum,string"`
}

// Table is what was compared of one table.
type Table struct {
	Name string `json:"table"`
	// Compared is how many rows the log says there must be.
	Compared uint64 `json:"compared"`
	// Unchecked are rows whose records the log no longer holds.
	Unchecked uint64 `json:"unchecked"`
	// Moving are rows that changed while they were looked at, again and again.
	Moving     uint64      `json:"moving"`
	Partitions []Partition `json:"partitions,omitempty"`
	// Different is how many differences there are; Differences lists the first of them.
	Different   uint64       `json:"different"`
	Differences []Difference `json:"differences,omitempty"`
	Seconds     float64      `json:"seconds"`
}

func (t *Table) found(list int, d Difference) {
	t.Different++
	if len(t.Differences) < list {
		t.Differences = append(t.Differences, d)
	}
}

// Report is what a verification found.
type Report struct {
	Database string    `json:"database"`
	Began    time.Time `json:"began"`
	Seconds  float64   `json:"seconds"`
	// Records is how many records were read, those read again counted again.
	Records int64   `json:"records_read"`
	Tables  []Table `json:"tables"`
}

// Different is how many differences there are in all tables.
func (r *Report) Different() uint64 {
	var n uint64
	for i := range r.Tables {
		n += r.Tables[i].Different
	}
	return n
}

// Equal says that the history is what the log says.
func (r *Report) Equal() bool { return r.Different() == 0 }
