package broker

import (
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var deleteRecordsKey = int16(kmsg.DeleteRecords)

// keepLastRecord makes DeleteRecords stop before a partition's last record.
//
// kfake removes the file of a segment whose records are all deleted, and finds the end offset again at the
// next start from the files that are left: with none left (also after a clean stop) it begins again at
// offset 0. Offsets would be used twice, and whatever remembers one (commits, checkpoints, the sources map)
// would drop new records as old. A partition that was trimmed to its end is the usual case for an idle
// deliveries topic, not a rare one.
//
// The answer's low watermark says how far the trim went, so a trimmer sees the one record that stays.
func keepLastRecord(c *kfake.Cluster) func(kmsg.Request) (kmsg.Response, error, bool) {
	return func(req kmsg.Request) (kmsg.Response, error, bool) {
		r, ok := req.(*kmsg.DeleteRecordsRequest)
		if !ok {
			return nil, nil, false
		}
		for t := range r.Topics {
			for p := range r.Topics[t].Partitions {
				rp := &r.Topics[t].Partitions[p]
				// A partition that is not there is kfake's to refuse.
				info := c.PartitionInfo(r.Topics[t].Topic, rp.Partition)
				if info == nil || info.HighWatermark == 0 {
					continue
				}
				if rp.Offset == -1 || rp.Offset == info.HighWatermark {
					rp.Offset = max(info.HighWatermark-1, info.LogStartOffset)
				}
			}
		}
		return nil, nil, false
	}
}
