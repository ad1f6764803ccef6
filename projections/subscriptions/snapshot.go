package subscriptions

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/gob"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"hookledger/ledger"
)

// The snapshot spares a start the reading of all of config. It is worth
// nothing else: without it every answer is the same, so whatever is doubtful
// about one is a reason to throw it away.
const (
	snapshotName = "snapshot"
	// snapshotFormat changes with savedPart, and with any change of the fold that Rules does not tell.
	snapshotFormat = 1
	// snapshotEvery and snapshotFacts: a snapshot is written when so much time
	// has passed and so many facts have come since the last, and at the end of Run.
	snapshotEvery = time.Minute
	snapshotFacts = 1000
)

// snapshotHead names what a snapshot is of.
type snapshotHead struct {
	Format, Rules int
	Cluster       string
	Topic         [16]byte
	Partitions    int
}

// errSnapshot: the snapshot is not used.
var errSnapshot = errors.New("the snapshot does not fit")

func encodeSnapshot(head snapshotHead, parts []savedPart) ([]byte, error) {
	var b bytes.Buffer
	enc := gob.NewEncoder(&b)
	if err := errors.Join(enc.Encode(head), enc.Encode(parts)); err != nil {
		return nil, fmt.Errorf("encode the snapshot: %w", err)
	}
	sum := sha256.Sum256(b.Bytes())
	return append(b.Bytes(), sum[:]...), nil
}

func decodeSnapshot(b []byte, want snapshotHead) ([]savedPart, error) {
	at := len(b) - sha256.Size
	if at < 0 || sha256.Sum256(b[:at]) != [sha256.Size]byte(b[at:]) {
		return nil, fmt.Errorf("%w: its checksum is wrong", errSnapshot)
	}
	dec := gob.NewDecoder(bytes.NewReader(b[:at]))
	var head snapshotHead
	if err := dec.Decode(&head); err != nil {
		return nil, fmt.Errorf("%w: %w", errSnapshot, err)
	}
	if head.Format != want.Format || head.Rules != want.Rules {
		return nil, fmt.Errorf("%w: it is of format %d and of version %d of the fold, this program has %d and %d", errSnapshot,
			head.Format, head.Rules, want.Format, want.Rules)
	}
	if head != want {
		return nil, fmt.Errorf("%w: it is of another log", errSnapshot)
	}
	var parts []savedPart
	if err := dec.Decode(&parts); err != nil {
		return nil, fmt.Errorf("%w: %w", errSnapshot, err)
	}
	if len(parts) != want.Partitions {
		return nil, fmt.Errorf("%w: it has %d partitions, want %d", errSnapshot, len(parts), want.Partitions)
	}
	for _, p := range parts {
		if p.Next < 0 || slices.ContainsFunc(p.Webhooks, func(w savedWebhook) bool { return w.Webhook == nil }) || slices.Contains(p.Keys, nil) {
			return nil, fmt.Errorf("%w: it has a webhook or key that is none", errSnapshot)
		}
	}
	return parts, nil
}

func (s *Subscriptions) snapshotHead(ctx context.Context) (snapshotHead, error) {
	cluster, err := s.log.ClusterID(ctx)
	if err != nil {
		return snapshotHead{}, err
	}
	topic, err := s.log.TopicID(ctx, ledger.Config)
	return snapshotHead{snapshotFormat, Rules, cluster, topic, len(s.parts)}, err
}

// loadSnapshot starts the fold from the snapshot, if there is one that fits. Its
// only error is that the log can't be asked.
func (s *Subscriptions) loadSnapshot(ctx context.Context) error {
	if s.opts.Folder == "" {
		return nil
	}
	head, err := s.snapshotHead(ctx)
	if err != nil {
		return err
	}
	s.head = head
	path := filepath.Join(s.opts.Folder, snapshotName)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var parts []savedPart
	if err == nil {
		parts, err = decodeSnapshot(b, head)
	}
	if err == nil {
		err = s.proveSnapshot(ctx, parts)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		s.opts.Logger.Warn("the snapshot of the subscriptions is thrown away, config is read from its beginning",
			slog.String("file", path), slog.Any("reason", err))
		return nil
	}
	for partition, p := range parts {
		s.restore(partition, p)
		s.progress.advance(int32(partition), p.Next)
		s.savedFacts += p.Next
	}
	return nil
}

// proveSnapshot checks that the log has the records the snapshot is of: the
// last one of each partition is there and is the same.
func (s *Subscriptions) proveSnapshot(ctx context.Context, parts []savedPart) error {
	ends, err := s.log.Ends(ctx, ledger.Config)
	if err != nil {
		return err
	}
	for partition, p := range parts {
		id := int32(partition)
		if p.Next > ends[id] {
			return fmt.Errorf("%w: it has applied config/%d up to %d, and the log ends at %d: the log has lost its tail", errSnapshot, id, p.Next, ends[id])
		}
		if p.Next == 0 {
			continue
		}
		r, err := s.log.ReadAt(ctx, ledger.Config, id, p.Next-1)
		if err != nil {
			return err
		}
		fact, err := ledger.DecodeConfig(r.Value)
		if err != nil {
			return err
		}
		if !bytes.Equal(fact.GetFactId(), p.Last[:]) {
			return fmt.Errorf("%w: config/%d/%d is another record than the one it has applied", errSnapshot, id, p.Next-1)
		}
	}
	return nil
}

// snapshots writes snapshots until ctx ends.
func (s *Subscriptions) snapshots(ctx context.Context) {
	tick := time.NewTicker(snapshotEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.saveSnapshot(snapshotFacts)
		}
	}
}

// saveSnapshot writes the snapshot if at least that many facts came since the
// last. That it can't be written costs a slower start, and is said.
func (s *Subscriptions) saveSnapshot(atLeast int64) {
	if s.opts.Folder == "" {
		return
	}
	var facts int64
	for _, next := range s.progress.positions() {
		facts += next
	}
	if facts-s.savedFacts < atLeast {
		return
	}
	parts := make([]savedPart, len(s.parts))
	for i := range parts {
		parts[i] = s.save(i)
	}
	path := filepath.Join(s.opts.Folder, snapshotName)
	b, err := encodeSnapshot(s.head, parts)
	if err == nil {
		err = writeFile(path, b)
	}
	if err != nil {
		s.opts.Logger.Warn("the snapshot of the subscriptions could not be written: the next start reads more of config",
			slog.String("file", path), slog.Any("reason", err))
		return
	}
	s.savedFacts = facts
}

// writeFile puts a file of mode 0600 in place, whole or not at all.
func writeFile(path string, b []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
