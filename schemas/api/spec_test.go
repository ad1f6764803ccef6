package api

import (
	"testing"

	"hookledger/schemas/catalogue"
)

func load(t testing.TB, extra ...string) *Spec {
	t.Helper()
	c, err := catalogue.Load("", extra)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Load(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestX(t *testing.T) {
	s := load(t)
	for _, o := range s.Operations() {
		t.Log(o.ID, o.Method, o.Path, o.Scope, o.Credential, o.BodyLimit, o.Events, o.contentTypes)
	}
	t.Log(len(s.JSON()))
}
