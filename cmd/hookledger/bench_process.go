package main

import (
	"syscall"
	"time"
)

// cpuUse is what a process has used.
type cpuUse struct {
	seconds float64 // CPU, user and system
	rss     int64   // bytes resident
	known   bool
}

// since is the CPU seconds used after an earlier look.
func (u cpuUse) since(before cpuUse) float64 {
	if !u.known || !before.known {
		return 0
	}
	return u.seconds - before.seconds
}

// treeUsage is a look at the whole process tree: the server, the engine (every
// descendant of the server), and the bench itself, which is publisher and
// receiver.
type treeUsage struct {
	at                   time.Time
	server, engine, self cpuUse
	machine              cpuUse // all processes there are
}

// processTree is the server's process and its descendants. The zero value is
// one that can't be seen.
type processTree struct{ server int }

func (t processTree) usage() treeUsage {
	u := treeUsage{at: time.Now(), self: selfUsage(), machine: machineUsage()}
	if t.server != 0 {
		u.server = processUsage(t.server)
		u.engine = cpuUse{known: u.server.known}
		for _, pid := range descendants(t.server) {
			d := processUsage(pid)
			u.engine.seconds += d.seconds
			u.engine.rss += d.rss
		}
	}
	return u
}

// selfUsage is what this process has used.
func selfUsage() cpuUse {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return cpuUse{}
	}
	return cpuUse{seconds: time.Duration(r.Utime.Nano() + r.Stime.Nano()).Seconds(), known: true}
}
