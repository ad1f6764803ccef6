package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// When the disk is full, publishing is answered 503 and the program stops, saying
// why, because nobody can tell any more what is on disk. Once there is room it starts,
// with all that it acknowledged.
func TestDiskFull(t *testing.T) {
	parent := filepath.Dir(newDataDir(t))
	disk := filepath.Join(parent, "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=300m"); errors.Is(err, unix.EPERM) {
		t.Skip("a small disk can be mounted by root only")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	dir := filepath.Join(disk, "data")
	s, err := launch(dir, openFlags...)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := s.account(t)
	id := c.publish()
	fill := filepath.Join(disk, "fill")
	f, err := os.Create(fill)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 1<<20)
	for err == nil {
		_, err = f.Write(block)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range 100 { // the last page of a file may have room for some
		a, err := c.try("POST", "/events", object{"event": "export.ready", "data": object{"i": i, "pad": string(bytes.Repeat([]byte("x"), 3000))}})
		if err != nil {
			break // it has stopped
		}
		if a.status != 202 && a.status != 503 {
			t.Fatalf("publishing to a full disk was answered %d: %s", a.status, a.body)
		}
		if a.status == 503 && a.header.Get("Retry-After") == "" {
			t.Errorf("503 without Retry-After: %s", a.body)
		}
		if a.status == 202 {
			id = a.str("events.0.id")
		}
	}
	<-s.exited
	_ = s.guard.Close()
	if said := s.tail(); s.state == nil || !bytes.Contains([]byte(said), []byte("no space left on device")) {
		t.Errorf("it ended with %v, saying: %s", s.state, said)
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	c.server = startServer(t, dir, openFlags...)
	eventually(t, "the last acknowledged event", func() error {
		if a := c.get("/events/" + id); a.status != 200 {
			return errors.New(string(a.body))
		}
		return nil
	})
	c.publish()
}
