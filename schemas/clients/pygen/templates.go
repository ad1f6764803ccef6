package main

import (
	"bytes"
	"cmp"
	_ "embed"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"unicode"
)

//go:embed models.tmpl
var modelsTemplate string

//go:embed resources.tmpl
var resourcesTemplate string

// face is one of the two clients.
type face struct {
	*API
	Async bool
}

// templates are the two modules' texts.
func templates() *template.Template {
	t := template.New("").Funcs(template.FuncMap{
		"doc":    docstring,
		"wrap":   wrap,
		"lines":  func(s string) []string { return strings.Split(s, "\n") },
		"join":   func(s []string) string { return strings.Join(s, ", ") },
		"upper":  strings.ToUpper,
		"python": python,
		"op":     func(o Operation, f face) bound { return bound{Operation: o, face: f} },
		"iter":   iterName,
		"path":   pathExpression,
		"args":   arguments,
		"plain":  func(s string) string { return strings.ReplaceAll(s, "``", "`") },
	})
	template.Must(t.New("models").Parse(modelsTemplate))
	template.Must(t.New("resources").Parse(resourcesTemplate))
	return t
}

// bound is an operation in one of the two clients.
type bound struct {
	Operation
	face
}

// Doc is the operation's, which both embedded types might have.
func (b bound) Doc() string { return b.Operation.Doc }

// iterName is what the method that goes over all pages is called.
func iterName(o Operation) string {
	switch {
	case o.Items != "":
		return "iter_" + o.Items
	case o.Name == "list":
		return "iter"
	}
	return "iter_" + o.Name
}

var placeholder = regexp.MustCompile(`\{[^}]*\}`)

// pathExpression is the Python expression of an operation's path.
func pathExpression(o Operation) string {
	if len(o.PathParams) == 0 {
		return `"` + o.Path + `"`
	}
	names := make([]string, 0, len(o.PathParams))
	for _, p := range o.PathParams {
		names = append(names, p.Name+"="+p.Name)
	}
	return `path("` + placeholder.ReplaceAllStringFunc(o.Path, func(s string) string { return "{" + python(s[1:len(s)-1]) + "}" }) + `", ` + strings.Join(names, ", ") + ")"
}

// arguments are the documentation of a method's arguments.
func arguments(o Operation) string {
	var b strings.Builder
	for _, list := range [][]Param{o.PathParams, o.Body, o.Query} {
		for _, p := range list {
			if p.Doc != "" {
				b.WriteString("\n" + p.Name + ": " + strings.Join(strings.Fields(p.Doc), " "))
			}
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "\n\nArgs:" + strings.ReplaceAll(wrapLines(b.String(), 84), "\n", "\n    ")
}

// docstring is a text as a docstring at an indentation.
func docstring(indent int, text string) string {
	pad := strings.Repeat(" ", indent)
	var paragraphs []string
	head, args, _ := strings.Cut(text, "\n\nArgs:")
	for p := range strings.SplitSeq(strings.TrimSpace(head), "\n\n") {
		if p = strings.Join(strings.Fields(p), " "); p != "" {
			paragraphs = append(paragraphs, wrap(p, 96-indent))
		}
	}
	body := strings.Join(paragraphs, "\n\n")
	if args != "" {
		body += "\n\nArgs:" + args
	}
	quote := `"""`
	if strings.Contains(body, `\`) {
		quote = `r"""`
	}
	if !strings.Contains(body, "\n") && len(body)+indent <= 90 && !strings.HasSuffix(body, `"`) {
		return pad + quote + body + `"""`
	}
	return pad + quote + strings.ReplaceAll(body, "\n", "\n"+pad) + "\n" + pad + `"""`
}

// wrapLines wraps each line, with what follows its first indented.
func wrapLines(text string, width int) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = strings.ReplaceAll(wrap(l, width), "\n", "\n    ")
	}
	return strings.Join(lines, "\n")
}

// wrap breaks a paragraph into lines.
func wrap(text string, width int) string {
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		if column > 0 && column+1+len(word) > width {
			b.WriteByte('\n')
			column = 0
		} else if column > 0 {
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}

var (
	trailing = regexp.MustCompile(`(?m)[ \t]+$`)
	blanks   = regexp.MustCompile(`\n{4,}`)
	between  = regexp.MustCompile(`\n{3,}    `)
	imports  = regexp.MustCompile(`(?m)^from (\S+) import (?:\(\n([^)]*)\)|([\w, ]+))$`)
	gap      = regexp.MustCompile(`\n{3,}from`)
	word     = regexp.MustCompile(`\w+`)
)

// tidy takes away what the templates leave at the ends of lines and between definitions, and imports that nothing uses.
func tidy(code []byte) []byte {
	code = trailing.ReplaceAll(code, nil)
	code = between.ReplaceAll(code, []byte("\n\n    "))
	code = blanks.ReplaceAll(code, []byte("\n\n\n"))
	used := make(map[string]bool)
	for _, w := range word.FindAll(imports.ReplaceAll(code, nil), -1) {
		used[string(w)] = true
	}
	code = imports.ReplaceAllFunc(code, func(statement []byte) []byte {
		m := imports.FindSubmatch(statement)
		if string(m[1]) == "__future__" || bytes.Contains(statement, []byte(" as ")) {
			return statement
		}
		names := slices.DeleteFunc(word.FindAllString(string(m[2])+string(m[3]), -1), func(n string) bool { return !used[n] })
		if len(names) == 0 {
			return nil
		}
		// The order of isort: constants, classes, functions.
		slices.SortFunc(names, func(a, b string) int {
			return cmp.Or(cmp.Compare(kind(a), kind(b)), cmp.Compare(strings.ToLower(a), strings.ToLower(b)))
		})
		line := "from " + string(m[1]) + " import " + strings.Join(names, ", ")
		if len(line) > 120 {
			line = "from " + string(m[1]) + " import (\n    " + strings.Join(names, ",\n    ") + ",\n)"
		}
		return []byte(line)
	})
	code = gap.ReplaceAll(code, []byte("\n\nfrom"))
	return append(bytes.TrimSpace(code), '\n')
}

// kind is where isort puts a name: 0 for constants, 1 for classes, 2 for the rest.
func kind(name string) int {
	switch {
	case strings.ToUpper(name) == name && len(name) > 1:
		return 0
	case unicode.IsUpper(rune(name[0])):
		return 1
	}
	return 2
}
