package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// block is the README's only block of code in a language that holds a text.
func block(t *testing.T, language, holds string) string {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(readme), "```"+language+"\n")[1:] {
		code, _, _ := strings.Cut(part, "```")
		if strings.Contains(code, holds) {
			return code
		}
	}
	t.Fatalf("README.md has no block of %s with %q", language, holds)
	return ""
}

// TestVerifyingASignatureAsTheREADMESays runs the README's three verifiers on a
// good signature, on one of another body, and on one that is too short.
func TestVerifyingASignatureAsTheREADMESays(t *testing.T) {
	t.Parallel()
	const secret, body = "whsec_Y0rR1LQZV+81WcU9EP4osN5LH0NNk14RUXnU9tx6gGs=", `{"id":"evt_1","data":{"name":"ü"}}`
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	good := "sha256=" + hex.EncodeToString(mac.Sum(nil))
	const want = "true false false\n"

	for _, c := range []struct {
		language, holds, file string
		command               []string
		code                  func(block string) string
	}{
		{"go", "func Verify", "main.go", []string{"go", "run", "main.go"}, func(b string) string {
			b = strings.Replace(b, "package webhook", "package main", 1)
			b = strings.Replace(b, "import (", "import (\n\t\"fmt\"\n\t\"os\"", 1)
			return b + `
func main() {
	secret, good, body := os.Args[1], os.Args[2], []byte(os.Args[3])
	fmt.Println(Verify(secret, good, body), Verify(secret, good, append(body, ' ')), Verify(secret, "sha256=", body))
}
`
		}},
		{"python", "def verify", "main.py", []string{"python3", "main.py"}, func(b string) string {
			return b + `
import sys
secret, good, body = sys.argv[1], sys.argv[2], sys.argv[3].encode()
results = verify(secret, good, body), verify(secret, good, body + b" "), verify(secret, "sha256=", body)
print(*(str(r).lower() for r in results))
`
		}},
		{"javascript", "function verify", "main.cjs", []string{"node", "main.cjs"}, func(b string) string {
			return b + `
const [secret, good, body] = process.argv.slice(2);
console.log(verify(secret, good, body), verify(secret, good, body + " "), verify(secret, "sha256=", body));
`
		}},
	} {
		t.Run(c.language, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(c.command[0]); err != nil && c.language == "python" {
				t.Skip("python3 is not among what the README asks for")
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, c.file), []byte(c.code(block(t, c.language, c.holds))), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), c.command[0], append(c.command[1:], secret, good, body)...)
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			if err != nil || string(out) != want {
				t.Errorf("printed %q (%v), want %q", out, err, want)
			}
		})
	}
}
