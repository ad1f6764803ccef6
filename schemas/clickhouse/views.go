package clickhouse

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

//go:embed audit/*.sql
var auditFiles embed.FS

// View is one file of audit/: a view of the audit database. Unlike a migration
// it may be edited, because views hold nothing and are made again at every
// change of the program.
//
// A file is one CREATE OR REPLACE VIEW, with {{db}} for the history's database
// and {{audit}} for that of the views. Or it begins with `-- of NAME`: then it is
// a condition (and a COMMENT) under which the view NAME is also made as one of
// its own, with parameters; it stands where NAME says {{where}} or {{and}}.
//
// {{wh x}}, {{del x}}, {{att x}} and {{chg x}} are the printed form of 16 raw
// bytes, as ledger/ids writes it; {{bytes wh {x:String}}} are the bytes of a
// parameter in printed form, {{time x}} is the time in a delivery's bytes,
// and {{json_time x}} writes milliseconds as the API writes times, null for 0.
// SQL has no functions that belong to a database, hence these.
type View struct {
	// Name of the view.
	Name string
	text string
}

const about = "about"

// Views returns the views of the audit database in the order in which they are made.
func Views() ([]View, error) {
	names, err := fs.Glob(auditFiles, "audit/*.sql")
	if err != nil {
		return nil, fmt.Errorf("list the views: %w", err)
	}
	texts := make(map[string]string, len(names))
	for _, path := range names {
		text, err := fs.ReadFile(auditFiles, path)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		texts[strings.TrimSuffix(strings.TrimPrefix(path, "audit/"), ".sql")] = string(text)
	}
	var all []View
	for _, path := range names { // sorted; what is built on others has a later name
		name := strings.TrimSuffix(strings.TrimPrefix(path, "audit/"), ".sql")
		text := texts[name]
		if first, condition, _ := strings.Cut(text, "\n"); strings.HasPrefix(first, "-- of ") {
			of := strings.TrimPrefix(first, "-- of ")
			if text, err = with(texts[of], of, name, condition); err != nil {
				return nil, fmt.Errorf("view %s: %w", name, err)
			}
		} else {
			text = strings.NewReplacer("{{where}}", "", "{{and}}", "").Replace(text)
		}
		all = append(all, View{name, expand(text)})
	}
	// The mark that all are made comes last.
	slices.SortStableFunc(all, func(a, b View) int { return flag(a.Name == about) - flag(b.Name == about) })
	return all, nil
}

// ViewNamed is one of Views.
func ViewNamed(name string) (View, error) {
	all, err := Views()
	if err != nil {
		return View{}, err
	}
	i := slices.IndexFunc(all, func(v View) bool { return v.Name == name })
	if i < 0 {
		return View{}, fmt.Errorf("there is no view %s", name)
	}
	return all[i], nil
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// with makes a view with parameters of another one.
func with(text, of, name, condition string) (string, error) {
	condition, comment, ok := strings.Cut(condition, "\nCOMMENT ")
	end := strings.LastIndex(text, "\nCOMMENT ")
	if !ok || end < 0 {
		return "", fmt.Errorf("no view %s, or no COMMENT", of)
	}
	head := "CREATE OR REPLACE VIEW {{audit}}."
	return strings.NewReplacer(head+of, head+name, "{{where}}", "WHERE "+condition, "{{and}}", "AND "+condition).Replace(text[:end]) +
		"\nCOMMENT " + comment, nil
}

// The alphabets of RFC 4648: base32, which ClickHouse has, and base32hex in lower
// case, which our ids are printed in.
const (
	base32    = "'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'"
	base32hex = "'0123456789abcdefghijklmnopqrstuv'"
)

var (
	parameter = regexp.MustCompile(`\{\{bytes (wh|del) (\{\w+:String\})\}\}`)
	jsonTime  = regexp.MustCompile(`\{\{json_time (.+?)\}\}`)
	moment    = regexp.MustCompile(`\{\{time (.+?)\}\}`)
	printed   = regexp.MustCompile(`\{\{(wh|del|att|chg) ([\w.]+)\}\}`)
)

func expand(text string) string {
	text = parameter.ReplaceAllStringFunc(text, func(s string) string {
		m := parameter.FindStringSubmatch(s)
		return fmt.Sprintf("toFixedString(base32Decode(concat(translate(substring(%s, %d), %s, %s), '======')), 16)", m[2], len(m[1])+2, base32hex, base32)
	})
	text = jsonTime.ReplaceAllString(text, `if(($1) = 0, 'null', concat('"', replaceOne(toString(fromUnixTimestamp64Milli($1, 'UTC')), ' ', 'T'), 'Z"'))`)
	text = moment.ReplaceAllString(text, "fromUnixTimestamp64Milli(toInt64(reinterpretAsUInt64(reverse(substring($1, 1, 6)))), 'UTC')")
	return printed.ReplaceAllString(text, "concat('${1}_', translate(substring(base32Encode($2), 1, 26), "+base32+", "+base32hex+"))")
}

// Statement makes the view in the audit database, over a history's database.
func (v View) Statement(audit, database string) string {
	return strings.NewReplacer("{{audit}}", Identifier(audit), placeholder, Identifier(database), "{{name}}", text(database)).Replace(v.text)
}

// Select is the view's SELECT over a history's database, for use as a subquery
// by who can't rely on the view being there. It does not work for views that are
// built on others.
func (v View) Select(database string) string {
	_, body, _ := strings.Cut(v.text, "\nAS\n")
	body = body[:strings.LastIndex(body, "\nCOMMENT ")]
	return strings.ReplaceAll(body, placeholder, Identifier(database))
}

// Marked puts the checksum over all statements into the last one, which makes
// the view about.
func Marked(statements []string) (marked []string, checksum string) {
	h := sha256.New()
	for _, s := range statements {
		h.Write([]byte(s + "\n"))
	}
	checksum = hex.EncodeToString(h.Sum(nil))
	marked = slices.Clone(statements)
	last := len(marked) - 1
	marked[last] = strings.ReplaceAll(marked[last], "{{checksum}}", text(checksum))
	return marked, checksum
}

// text is a string constant.
func text(s string) string {
	return "'" + strings.NewReplacer("\\", "\\\\", "'", "\\'").Replace(s) + "'"
}
