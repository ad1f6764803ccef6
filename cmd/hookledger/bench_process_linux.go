package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// clockTicks is the unit of times in /proc/PID/stat: USER_HZ is 100 on every
// architecture that Go knows.
const clockTicks = 100

// processUsage reads what a process has used, from /proc.
func processUsage(pid int) cpuUse {
	fields := procStat(pid)
	if fields == nil {
		return cpuUse{}
	}
	number := func(i int) int64 { // counted as in proc(5), from 1
		n, _ := strconv.ParseInt(string(fields[i-3]), 10, 64) // the kernel writes nothing else
		return n
	}
	return cpuUse{
		seconds: float64(number(14)+number(15)) / clockTicks,
		rss:     number(24) * int64(os.Getpagesize()),
		known:   true,
	}
}

// procStat are the fields of /proc/PID/stat from the third one, which is the
// first after the name; nil if the process is gone.
func procStat(pid int) [][]byte {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return nil
	}
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:]) // the name may hold spaces
	if len(fields) < 22 {
		return nil
	}
	return fields
}

// descendants are the processes below one.
func descendants(root int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	parents := make(map[int]int)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if fields := procStat(pid); fields != nil {
			parents[pid], _ = strconv.Atoi(string(fields[1]))
		}
	}
	below := []int{root}
	for i := 0; i < len(below); i++ {
		for pid, parent := range parents {
			if parent == below[i] && !slices.Contains(below, pid) {
				below = append(below, pid)
			}
		}
	}
	return below[1:]
}

// machineUsage is the CPU that everything on the machine has used.
func machineUsage() cpuUse {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return cpuUse{}
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	fields := bytes.Fields(line) // cpu user nice system idle iowait irq softirq steal ...
	if len(fields) < 9 || string(fields[0]) != "cpu" {
		return cpuUse{}
	}
	u := cpuUse{known: true}
	for i, f := range fields[1:9] {
		if i == 3 || i == 4 { // idle
			continue
		}
		n, _ := strconv.ParseInt(string(f), 10, 64) // the kernel writes nothing else
		u.seconds += float64(n) / clockTicks
	}
	return u
}

// inMemory is whether a folder is on a file system that a power cut empties.
func inMemory(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && st.Type == unix.TMPFS_MAGIC
}
