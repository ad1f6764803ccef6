package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"hookledger/deploy/embedded/datadir"
)

// benchServer is the server under load: a child process on a data folder of
// its own, or one that runs already.
type benchServer struct {
	base, key string
	tree      processTree
	warnings  []string
	client    *http.Client

	cmd     *exec.Cmd // of its own, or nil
	dir     string
	keep    bool
	exited  chan struct{}
	pprof   string
	created []string // webhooks to delete again, on a server that stays
}

func openBenchServer(ctx context.Context, o *benchOptions, cfg *config, say func(string, ...any)) (*benchServer, error) {
	s := &benchServer{client: benchClient(8), keep: o.keep}
	switch {
	case o.attach != "":
		s.base, s.key = strings.TrimSuffix(strings.TrimSuffix(o.attach, "/"), "/api/v2"), o.apiKey
		s.warnings = append(s.warnings, "CPU and memory of a server behind --attach are not seen from here; --serving sees them")
		return s, nil
	case o.serving:
		return s, s.useServing(cfg.dataDir, o.apiKey)
	}
	if err := s.start(ctx, o, cfg, say); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// useServing finds the server that serves a data folder.
func (s *benchServer) useServing(dir, key string) error {
	at, err := datadir.ReadServing(dir)
	if err != nil {
		return err
	}
	s.base, s.tree = at.API, processTree{server: at.PID}
	if s.key = key; key != "" {
		return nil
	}
	text, err := os.ReadFile(filepath.Join(dir, "keys", adminKeyFile))
	if err != nil {
		return fmt.Errorf("read the local admin key (or set HOOKLEDGER_API_KEY): %w", err)
	}
	s.key = strings.TrimSpace(string(text))
	return nil
}

// start runs this same program on a folder of its own and waits until it is ready.
func (s *benchServer) start(ctx context.Context, o *benchOptions, cfg *config, say func(string, ...any)) (err error) {
	if s.dir, err = os.MkdirTemp(o.temp, "hookledger-bench-"); err != nil {
		return fmt.Errorf("make the server's data folder: %w", err)
	}
	if inMemory(s.dir) {
		s.warnings = append(s.warnings, "the data folder is in memory, so a sync costs nothing: give --temp on a disk")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{
		"serve", "--data-dir", filepath.Join(s.dir, "data"), "--listen", "127.0.0.1:0", "--fsync", cfg.fsync,
		"--allow-http-urls", "--allow-private-networks", "--admin-key",
		"--rate-per-key", "0", "--rate-per-account", "0", "--events-per-account", "0", "--requests-per-account", "0", // it is one caller, at full speed
	}
	if o.cpuProfile != "" {
		if s.pprof, err = freeAddress(); err != nil {
			return err
		}
		args = append(args, "--pprof", s.pprof)
	}
	log, err := os.Create(filepath.Join(s.dir, "server.log"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	// Not CommandContext: it would kill where close asks.
	s.cmd = exec.Command(self, append(args, o.serveFlags...)...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return fmt.Errorf("start the server: %w", err)
	}
	say("the server is process %d in %s", s.cmd.Process.Pid, s.dir)
	s.exited = make(chan struct{})
	go func() {
		_ = s.cmd.Wait() // its state says it
		close(s.exited)
	}()
	limit := time.Now().Add(time.Minute)
	for {
		err := s.useServing(filepath.Join(s.dir, "data"), "")
		if err == nil {
			return nil
		}
		select {
		case <-s.exited:
			return fmt.Errorf("the server ended (%s):\n%s", s.cmd.ProcessState, s.logTail())
		default:
		}
		if time.Now().After(limit) {
			return fmt.Errorf("the server was not ready after a minute: %w:\n%s", err, s.logTail())
		}
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// freeAddress is a loopback address that was free just now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// logTail is the end of the server's log.
func (s *benchServer) logTail() string {
	b, err := os.ReadFile(filepath.Join(s.dir, "server.log"))
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-4000):])
}

// close stops a server of its own and removes its folder, or removes the
// webhooks from one that stays.
func (s *benchServer) close() (err error) {
	defer s.client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	if s.dir == "" {
		for _, id := range s.created {
			if e := s.call(ctx, http.MethodDelete, "/webhooks/"+id, nil, nil); e != nil && err == nil {
				err = fmt.Errorf("remove the bench's webhooks: %w", e)
			}
		}
		return err
	}
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.exited:
		case <-ctx.Done():
			_ = s.cmd.Process.Kill()
			<-s.exited
		}
		if !s.cmd.ProcessState.Success() {
			err = fmt.Errorf("the server ended badly (%s):\n%s", s.cmd.ProcessState, s.logTail())
		}
	}
	if s.keep {
		return err
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// makeWebhooks makes fanOut webhooks for each group; a group's index routes
// events to it alone. Those of the first groups have a receiver that hangs.
func (s *benchServer) makeWebhooks(ctx context.Context, receivers []string, hung string, hanging int, o *benchOptions) error {
	for n := range o.webhooks {
		receiver := receivers[n%len(receivers)]
		if n/o.fanOut < hanging {
			receiver = hung
		}
		var made struct {
			ID string `json:"webhook_id"`
		}
		err := s.call(ctx, http.MethodPost, "/webhooks", map[string]any{
			"name": "bench " + strconv.Itoa(n), "url": receiver + "/hook/" + strconv.Itoa(n),
			"events": []string{benchEvent}, "index_ids": []string{benchIndex(n / o.fanOut)},
		}, &made)
		if err != nil {
			return fmt.Errorf("make webhook %d of %d: %w", n+1, o.webhooks, err)
		}
		s.created = append(s.created, made.ID)
	}
	return nil
}

// call is a request to the API.
func (s *benchServer) call(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, s.base+"/api/v2"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("X-API-Key", s.key)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s answered %d: %s", method, path, resp.StatusCode, answer)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

// historyRows is how many attempts the server has written to the history since
// its start.
func (s *benchServer) historyRows(ctx context.Context) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), `hookledger_historian_rows_total{table="attempts"} `); ok {
			return strconv.ParseFloat(v, 64)
		}
	}
	return 0, lines.Err() // no row yet
}

// profile takes a CPU profile of the server for as long as the load lasts; the
// function returned waits for it and writes it.
func (s *benchServer) profile(ctx context.Context, path string, length time.Duration) func() error {
	if path == "" {
		return func() error { return nil }
	}
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			url := "http://" + s.pprof + "/debug/pprof/profile?seconds=" + strconv.Itoa(int(length.Seconds()))
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			if err != nil {
				return err
			}
			client := &http.Client{Timeout: length + time.Minute}
			defer client.CloseIdleConnections()
			resp, err := client.Do(req)
			if err != nil {
				return fmt.Errorf("take a CPU profile: %w", err)
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != http.StatusOK {
				return fmt.Errorf("take a CPU profile: status %d: %w", resp.StatusCode, err)
			}
			return writeFile("cpu-profile", path, b)
		}()
	}()
	return func() error { return <-done }
}
