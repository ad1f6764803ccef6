package engine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// child is one run of the engine's process. It owns the goroutines that read
// what the process says; they end with it.
type child struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	ready  chan readyLine
	exited chan struct{}
	err    error // why it exited; read after exited

	mu   sync.Mutex
	tail []string // its last words
}

// SandboxEnv set to "off" runs the child without the confinement of sandbox_linux.go.
const SandboxEnv = "HOOKLEDGER_ENGINE_SANDBOX"

// tailLines is how much of the child's standard error is kept to say why it died.
const tailLines = 20

// launch starts a child and waits until it is ready, dead, or too late.
func (e *Engine) launch(ctx context.Context) error {
	c, err := e.spawn()
	if err != nil {
		return err
	}
	timeout := time.NewTimer(e.o.StartTimeout)
	defer timeout.Stop()
	select {
	case r := <-c.ready:
		e.mu.Lock()
		e.child, e.down = c, nil
		e.mu.Unlock()
		e.o.Logger.Info("engine is up", "address", r.Address, "version", r.Version, "pid", r.PID)
		return nil
	case <-c.exited:
		return fmt.Errorf("starting the engine in %s: %w", e.o.DataDir, c.err)
	case <-ctx.Done():
		err = ctx.Err()
	case <-timeout.C:
		err = fmt.Errorf("not ready after %s: is another engine using the folder?", e.o.StartTimeout)
	}
	c.stop(0)
	return fmt.Errorf("starting the engine in %s: %w", e.o.DataDir, err)
}

func (e *Engine) spawn() (*child, error) {
	if err := os.MkdirAll(e.o.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("making the engine's data folder: %w", err)
	}
	args := append(append([]string(nil), e.o.Args...),
		"-lib", e.o.LibPath, "-path", e.o.DataDir, "-inherit-listener",
		"-max-memory", strconv.FormatInt(e.o.MaxMemory, 10), "-sessions", strconv.Itoa(e.o.Sessions))
	if e.o.Fsync {
		args = append(args, "-fsync")
	}
	if os.Getenv(SandboxEnv) == "off" {
		args = append(args, "-sandbox=false")
	}
	c := &child{cmd: exec.Command(e.o.Binary, args...), ready: make(chan readyLine, 1), exited: make(chan struct{})}
	// chdb reads a config.xml from its working folder and its home, and has its
	// time zone from TZ: all three are ours.
	c.cmd.Dir = e.o.DataDir
	c.cmd.Env = append([]string{"HOME=" + e.o.DataDir, "TZ=UTC", "PATH=" + os.Getenv("PATH"), "LD_LIBRARY_PATH=" + os.Getenv("LD_LIBRARY_PATH")}, e.o.Env...)
	c.cmd.ExtraFiles = []*os.File{e.listener}
	var err error
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := c.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the engine's process %s: %w", e.o.Binary, err)
	}
	var readers sync.WaitGroup
	readers.Go(func() { c.readStdout(stdout, e.o.Logger) })
	readers.Go(func() { c.readStderr(stderr, e.o.Logger) })
	go func() {
		readers.Wait()
		c.err = c.reason(c.cmd.Wait())
		close(c.exited)
	}()
	line, err := json.Marshal(e.passwords)
	if err != nil {
		c.stop(0)
		return nil, err
	}
	// A child that is dead already can't read; why it died is said by exited.
	_, _ = c.stdin.Write(append(line, '\n'))
	return c, nil
}

func (c *child) readStdout(r io.Reader, log *slog.Logger) {
	first := true
	for lines := bufio.NewReader(r); ; {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var ready readyLine
		if first && json.Unmarshal(line, &ready) == nil && ready.Address != "" {
			c.ready <- ready
			first = false
			continue
		}
		log.Warn("engine", "said", string(bytes.TrimSpace(line)))
	}
}

func (c *child) readStderr(r io.Reader, log *slog.Logger) {
	for lines := bufio.NewReader(r); ; {
		line, err := lines.ReadString('\n')
		if line = strings.TrimSpace(line); line != "" {
			log.Warn("engine", "said", line)
			c.mu.Lock()
			c.tail = append(c.tail, line)
			c.tail = c.tail[max(0, len(c.tail)-tailLines):]
			c.mu.Unlock()
		}
		if err != nil {
			return
		}
	}
}

func (c *child) reason(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	what := "its process ended"
	if err != nil {
		what = err.Error()
	}
	if len(c.tail) == 0 {
		return fmt.Errorf("%s, saying nothing", what)
	}
	return fmt.Errorf("%s, its last words: %s", what, strings.Join(c.tail, " | "))
}

// stop asks the child to end, kills it after grace, and waits for its end.
func (c *child) stop(grace time.Duration) {
	_ = c.stdin.Close()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-c.exited:
		return
	case <-timer.C:
	}
	_ = c.cmd.Process.Kill()
	<-c.exited
}
