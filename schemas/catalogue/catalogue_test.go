package catalogue

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// contract is the list of CONTRACT.md, in its order: clients depend on it.
var contract = strings.Fields(`media.created media.processing.started media.processing.completed
	media.processing.failed prompt_run.started prompt_run.completed prompt_run.failed
	prompt_run.cancelled prompt_run.partial_completed prompt_run.progress export.ready
	export.failed import_job.started import_job.completed import_job.failed
	import_job.partial_completed import_job.progress`)

func TestBuiltinIsTheContract(t *testing.T) {
	c, err := Builtin()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(contract, c.Names()); d != "" {
		t.Error(d)
	}
}

func TestOperatorsNames(t *testing.T) {
	file := filepath.Join(t.TempDir(), "names")
	if err := os.WriteFile(file, []byte("# ours\r\norder.paid # when paid\r\n\nexport.ready\nping\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file, []string{"order.sent", "order.paid"})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(append(append([]string{}, contract...), "order.paid", "ping", "order.sent"), c.Names()); d != "" {
		t.Error(d)
	}
	if !c.Has("order.paid") || c.Has("order.lost") {
		t.Error("Has is wrong")
	}
	if s, ok := c.Intern([]byte("ping")); !ok || s != "ping" {
		t.Error("Intern is wrong")
	}
	c.Names()[0] = "changed"
	if c.Names()[0] != "media.created" {
		t.Error("a caller changed the catalogue")
	}
}

func TestEveryFaultIsNamedAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "names")
	if err := os.WriteFile(file, []byte("good.name\nBad.Name\n.dot\ntest\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(file, []string{"two words", strings.Repeat("a", 101), ""})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"line 2", `"Bad.Name"`, "line 3", "line 4", "reserved", `"two words"`, "101 characters", `event name ""`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none"), nil); err == nil {
		t.Error("a missing file is accepted")
	}
}

func TestSuggest(t *testing.T) {
	c, err := Builtin()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"export.raedy":           "export.ready",
		"Export-Ready":           "export.ready",
		"media/created":          "media.created",
		"prompt-run.completed":   "prompt_run.completed",
		"import_job.complete":    "import_job.completed",
		"exprot.failed":          "export.failed",
		"order.paid":             "",
		"x":                      "",
		"":                       "",
		strings.Repeat("a", 1e6): "",
	} {
		if got := c.Suggest(name); got != want {
			t.Errorf("Suggest(%.30q) = %q, want %q", name, got, want)
		}
	}
}
