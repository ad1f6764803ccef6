package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// sqlTimeout bounds one statement.
const sqlTimeout = 5 * time.Minute

// unknownDatabase is ClickHouse's code for a database that does not exist.
const unknownDatabase = "81"

func runSQL(ctx context.Context, args []string, std stdio) (err error) {
	var cfg config
	f := flag.NewFlagSet("sql", flag.ContinueOnError)
	cfg.placeFlags(f)
	format := f.String("format", "PrettyCompactMonoBlock", "ClickHouse `format` of the answers, such as JSONEachRow, TSV or CSV")
	if err := cfg.parse(f, args, std); err != nil {
		return err
	}
	if cfg.embeddedEngine() { // looking makes nothing
		if _, err := os.Stat(cfg.dataDir); err != nil {
			return fmt.Errorf("--data-dir: %w: start `hookledger serve` there once", err)
		}
	}
	at, err := openPlace(&cfg, slog.New(slog.DiscardHandler), true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, at.close()) }()
	if err := at.startEngine(ctx); err != nil {
		return err
	}
	dsn, err := url.Parse(at.dsn(userAuditor))
	if err != nil || (dsn.Scheme != "http" && dsn.Scheme != "https") {
		return errors.New("--clickhouse-dsn: sql speaks ClickHouse's HTTP interface: give an http:// or https:// DSN, or use clickhouse-client")
	}
	q := &sqlClient{dsn: dsn, database: cfg.clickhouseDB, audit: cfg.auditDB, format: *format}
	q.findLive(ctx)
	if f.NArg() > 0 {
		return q.ask(ctx, strings.Join(f.Args(), " "), std.out)
	}
	return q.prompt(ctx, std)
}

// sqlClient asks ClickHouse over HTTP, whose formats are what a person wants to read.
type sqlClient struct {
	dsn                     *url.URL
	database, audit, format string
}

// findLive goes to the database of the live history, if the configured one names
// another. Where it says nothing, or is not there, statements tell.
func (q *sqlClient) findLive(ctx context.Context) {
	var out strings.Builder
	ask := &sqlClient{dsn: q.dsn, database: q.database, audit: q.audit, format: "TSVRaw"}
	err := ask.ask(ctx, "SELECT database FROM generations WHERE state = 'live' ORDER BY generation DESC LIMIT 1", &out)
	if name := strings.TrimSpace(out.String()); err == nil && name != "" {
		q.database = name
	}
}

// ask prints the answer of one statement.
func (q *sqlClient) ask(ctx context.Context, statement string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, sqlTimeout)
	defer cancel()
	params := url.Values{"database": {q.database}, "default_format": {q.format}}
	target := url.URL{Scheme: q.dsn.Scheme, Host: q.dsn.Host, Path: "/", RawQuery: params.Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), strings.NewReader(statement))
	if err != nil {
		return err
	}
	if q.dsn.User != nil {
		password, _ := q.dsn.User.Password()
		req.SetBasicAuth(q.dsn.User.Username(), password)
	}
	client := &http.Client{Timeout: sqlTimeout}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask the history: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		why, err := io.ReadAll(io.LimitReader(resp.Body, 16<<10))
		if resp.Header.Get("X-ClickHouse-Exception-Code") == unknownDatabase {
			return fmt.Errorf("there is no history in database %q yet: start `hookledger serve` once", q.database)
		}
		return errors.Join(errors.New(strings.TrimSpace(string(why))), err)
	}
	_, err = io.Copy(out, resp.Body)
	return err
}

// prompt reads statements that end with a semicolon.
func (q *sqlClient) prompt(ctx context.Context, std stdio) error {
	interactive := false
	if in, ok := std.in.(*os.File); ok {
		if info, err := in.Stat(); err == nil {
			interactive = info.Mode()&os.ModeCharDevice != 0
		}
	}
	say := func(s string) {
		if interactive {
			fmt.Fprint(std.out, s)
		}
	}
	say("Read-only SQL on the history. A statement ends with ; and exit leaves. Tables: SHOW TABLES;\n" +
		"The views for auditors explain themselves: SHOW TABLES FROM " + q.audit + "; DESCRIBE TABLE " + q.audit + ".attempts;\n" +
		"Ten worked questions are in schemas/clickhouse/AUDIT.md.\n")
	lines := bufio.NewScanner(std.in)
	lines.Buffer(nil, 1<<20)
	var statement strings.Builder
	var failed error
	say("sql> ")
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if statement.Len() == 0 && (line == "exit" || line == "quit") {
			return failed
		}
		statement.WriteString(line + "\n")
		if !strings.HasSuffix(line, ";") {
			say("...> ")
			continue
		}
		text := strings.TrimSuffix(strings.TrimSpace(statement.String()), ";")
		statement.Reset()
		if err := q.ask(ctx, text, std.out); err != nil {
			fmt.Fprintln(std.err, err)
			if !interactive {
				return err
			}
			failed = err
		}
		say("sql> ")
	}
	if rest := strings.TrimSpace(statement.String()); rest != "" {
		return q.ask(ctx, rest, std.out)
	}
	return errors.Join(failed, lines.Err())
}
