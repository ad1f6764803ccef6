package engine_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestConfined: not even the service can reach beyond the engine's folder, so a
// hole in the SQL rules opens nothing.
func TestConfined(t *testing.T) {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		t.Logf("this kernel has no Landlock (%v): the engine is not confined here", errno)
		return
	}
	dsn := db.Database(t)
	secret := filepath.Join(t.TempDir(), "secret.csv")
	if err := os.WriteFile(secret, []byte("topsecret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		"SELECT * FROM file('" + secret + "', 'CSV', 's String')", "SELECT file('" + secret + "')", "SELECT * FROM default.`" + secret + "`", "SELECT * FROM file('/etc/passwd', 'LineAsString')",
		"SELECT 1 INTO OUTFILE '" + secret + ".out'", "SELECT * FROM executable('/bin/cat " + secret + "', 'CSV', 's String')",
	} {
		status, _, text := request(t, "POST", dsn, nil, sql)
		if status == 200 || strings.Contains(text, "topsecret") {
			t.Errorf("%s passed: %d %q", sql, status, text)
		}
	}
	if _, err := os.Stat(secret + ".out"); err == nil {
		t.Error("a file was written outside of the folder")
	}
	if abi < 4 {
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	called := make(chan struct{})
	go func() {
		defer close(called)
		if c, err := l.Accept(); err == nil {
			c.Close()
			t.Error("the engine called an address")
		}
	}()
	status, _, text := request(t, "POST", dsn, map[string][]string{"http_max_tries": {"1"}}, "SELECT * FROM url('http://"+l.Addr().String()+"/', 'CSV', 's String')")
	if status == 200 {
		t.Errorf("url(): %d %q", status, text)
	}
	l.Close()
	<-called
}
