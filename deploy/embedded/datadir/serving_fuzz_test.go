package datadir

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzServing: what is read is what would be written again, and no error or text shows a password.
func FuzzServing(f *testing.F) {
	for _, s := range []string{
		`{"pid":1,"api":"http://127.0.0.1:8080","broker":{"addrs":["127.0.0.1:9"],"user":"u","password":"hunter2"},"engine":{"addr":"127.0.0.1:1","users":{"service":"hunter2"}}}`,
		`{}`, `{"pid":"x"}`, `{"broker":{"password":7}}`, `null`, `[`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeServing(b)
		if err != nil {
			return
		}
		s.Broker.Password = "hunter2"
		if text := fmt.Sprintf("%v %+v %#v", s, s, s); strings.Contains(text, "hunter2") {
			t.Errorf("the password is in %s", text)
		}
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeServing(text)
		if d := cmp.Diff(normal(s), normal(again)); err != nil || d != "" {
			t.Errorf("%s is read as another: %v %s", text, err, d)
		}
	})
}

// normal levels what JSON can't tell apart.
func normal(s Serving) Serving {
	if len(s.Engine.Users) == 0 {
		s.Engine.Users = nil
	}
	if len(s.Broker.Addrs) == 0 {
		s.Broker.Addrs = nil
	}
	return s
}
