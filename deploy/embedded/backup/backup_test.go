package backup_test

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/deploy/embedded/backup"
	"hookledger/deploy/embedded/broker"
	"hookledger/deploy/embedded/broker/brokertest"
	"hookledger/deploy/embedded/datadir"
)

// folder is a data folder with a served log of ten records, and keys.
func folder(t *testing.T) (data string, b *broker.Broker, stop func()) {
	t.Helper()
	data = filepath.Join(t.TempDir(), "data")
	dir, err := datadir.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	if b, err = broker.Start(t.Context(), broker.Options{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			if err := errors.Join(b.Close(), dir.Close()); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	topic := brokertest.Topic(t, b, "events", 2)
	cl := brokertest.Client(t, b)
	for i := range 10 {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte{byte(i)}}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(data, "keys", "secrets.json"), []byte(`{"of":"the test"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	return data, b, stop
}

func records(m *backup.Manifest) (n int64) {
	for _, p := range m.Partitions {
		n += p.End - p.Start
	}
	return n
}

// A folder and a tar, of a folder that is served and of one that is not, hold the same records; what is restored
// holds them too, and the keys, for nobody else to read.
func TestRestoreGivesBackWhatWasTaken(t *testing.T) {
	data, _, stop := folder(t)
	for _, serving := range []bool{true, false} {
		if !serving {
			stop()
		}
		for _, name := range []string{"backup", "backup.tar.gz"} {
			to := filepath.Join(t.TempDir(), name)
			m, err := backup.Take(t.Context(), backup.Options{Data: data, To: to, Serving: serving, Program: "test"})
			if err != nil {
				t.Fatal(err)
			}
			if records(m) != 10 {
				t.Errorf("%s has %d records, want 10: %+v", name, records(m), m.Partitions)
			}
			if _, err := backup.Take(t.Context(), backup.Options{Data: data, To: to, Serving: serving}); err == nil {
				t.Error("a second backup to the same place was not refused")
			}
			again := filepath.Join(t.TempDir(), "new", "data")
			got, err := backup.Restore(to, again)
			if err != nil || records(got) != 10 || got.Bytes() != m.Bytes() {
				t.Fatalf("restored %+v, %v", got, err)
			}
			info, err := os.Stat(filepath.Join(again, "keys", "secrets.json"))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the keys: %v, %v, want mode 0600", info, err)
			}
			dir, err := datadir.Open(again)
			if err != nil {
				t.Fatal(err)
			}
			b, err := broker.Start(t.Context(), broker.Options{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			if b.Unclean() != serving {
				t.Errorf("taken with a server on it: %v, and counts as stopped uncleanly: %v", serving, b.Unclean())
			}
			if err := errors.Join(b.Close(), dir.Close()); err != nil {
				t.Fatal(err)
			}
			extents, err := broker.Extents(filepath.Join(again, "broker"), nil)
			if err != nil || len(extents) != len(m.Partitions) {
				t.Errorf("after a start: %+v, %v", extents, err)
			}
		}
	}
}

// A backup that was changed, cut, or added to is refused, and nothing is restored.
func TestDamagedBackupIsRefused(t *testing.T) {
	data, _, _ := folder(t)
	base := filepath.Join(t.TempDir(), "backup")
	m, err := backup.Take(t.Context(), backup.Options{Data: data, To: base, Serving: true})
	if err != nil {
		t.Fatal(err)
	}
	var segment string
	for _, f := range m.Files {
		if strings.HasSuffix(f.Path, ".dat") && f.Size > 0 {
			segment = f.Path
		}
	}
	for what, change := range map[string]func(dir string) error{
		"a byte": func(dir string) error {
			path := filepath.Join(dir, segment)
			b, err := os.ReadFile(path)
			if err == nil {
				b[len(b)-1] ^= 1
				err = os.WriteFile(path, b, 0o600)
			}
			return err
		},
		"a cut":        func(dir string) error { return os.Truncate(filepath.Join(dir, segment), 5) },
		"a file less":  func(dir string) error { return os.Remove(filepath.Join(dir, "broker", "topics.json")) },
		"a file more":  func(dir string) error { return os.WriteFile(filepath.Join(dir, "broker", "clean"), nil, 0o600) },
		"no manifest":  func(dir string) error { return os.Remove(filepath.Join(dir, "manifest.json")) },
		"other format": func(dir string) error { return rewrite(dir, func(m *backup.Manifest) { m.Format++ }) },
		"a link":       func(dir string) error { return os.Symlink("/etc/passwd", filepath.Join(dir, "broker", "link")) },
	} {
		t.Run(what, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "backup")
			if err := os.CopyFS(dir, os.DirFS(base)); err != nil {
				t.Fatal(err)
			}
			if err := change(dir); err != nil {
				t.Fatal(err)
			}
			parent := t.TempDir()
			if _, err := backup.Restore(dir, filepath.Join(parent, "data")); err == nil {
				t.Error("was restored")
			} else {
				t.Log(err)
			}
			if left, _ := os.ReadDir(parent); len(left) > 0 {
				t.Errorf("it left %v", left)
			}
		})
	}
}

func rewrite(dir string, change func(*backup.Manifest)) error {
	path := filepath.Join(dir, "manifest.json")
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var m backup.Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	change(&m)
	if b, err = json.Marshal(m); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// A tar that is cut, or names a file outside the folder, is refused.
func TestBadTarIsRefused(t *testing.T) {
	data, _, _ := folder(t)
	good := filepath.Join(t.TempDir(), "backup.tar.gz")
	if _, err := backup.Take(t.Context(), backup.Options{Data: data, To: good, Serving: true}); err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut.tar.gz")
	b, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cut, b[:len(b)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	evil := filepath.Join(t.TempDir(), "evil.tar.gz")
	f, err := os.Create(evil)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	w := tar.NewWriter(z)
	err = w.WriteHeader(&tar.Header{Name: "../outside", Size: 1, Mode: 0o600, Typeflag: tar.TypeReg})
	_, err2 := io.WriteString(w, "x")
	if err := errors.Join(err, err2, w.Close(), z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{cut, evil, filepath.Join(t.TempDir(), "none.tar.gz")} {
		parent := t.TempDir()
		if _, err := backup.Restore(from, filepath.Join(parent, "data")); err == nil {
			t.Errorf("%s was restored", from)
		}
		if left, _ := os.ReadDir(parent); len(left) > 0 {
			t.Errorf("%s left %v", from, left)
		}
	}
}
