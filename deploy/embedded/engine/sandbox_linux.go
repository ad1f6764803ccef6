package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sandboxedEnv marks the second life of the child.
const sandboxedEnv = "HOOKLEDGER_ENGINE_SANDBOXED"

// confine takes from this process, for good, every file but its data folder and
// what a program needs to run, and every TCP connection and port: ClickHouse can
// read any file of its user and call any address in dozens of ways, the keys of
// this installation lie beside its data, and it needs none of them.
//
// Landlock confines a thread and what it starts. A Go program has many threads
// already, so one is confined and then becomes the whole process by running the
// same program again.
//
// On a kernel without Landlock, it says so and returns: the SQL rules of
// auditor.go stand alone then.
func confine(o ServeOptions) error {
	if os.Getenv(sandboxedEnv) != "" {
		return nil
	}
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		o.Log.Info("engine is not confined to its folder: the kernel has no Landlock", "error", errno)
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := filepath.Abs(o.DataDir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the engine's data folder: %w", err)
	}
	runtime.LockOSThread() // never unlocked: the thread ends in exec, or with the process
	if err := restrict(int(abi), self, o.LibPath, dir); err != nil {
		return fmt.Errorf("confining the engine to %s (set %s=off to do without): %w", dir, SandboxEnv, err)
	}
	err = syscall.Exec(self, os.Args, append(os.Environ(), sandboxedEnv+"=1"))
	return fmt.Errorf("running %s again, confined (set %s=off to do without): %w", self, SandboxEnv, err)
}

const (
	landRead  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR | unix.LANDLOCK_ACCESS_FS_EXECUTE
	landWrite = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SYM
	landForbidden = unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK | unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK
)

// restrict confines the calling thread.
func restrict(abi int, self, lib, dir string) error {
	handled, owned := uint64(landRead|landWrite|landForbidden), uint64(landRead|landWrite)
	attr := unix.LandlockRulesetAttr{}
	size := unsafe.Sizeof(attr.Handled_access_fs)
	if abi >= 2 {
		handled, owned = handled|unix.LANDLOCK_ACCESS_FS_REFER, owned|unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		handled, owned = handled|unix.LANDLOCK_ACCESS_FS_TRUNCATE, owned|unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	attr.Handled_access_fs = handled
	if abi >= 4 {
		// The listener came open from the parent, so not even a port is needed.
		attr.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
		size += unsafe.Sizeof(attr.Handled_access_net)
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return fmt.Errorf("making a Landlock ruleset: %w", errno)
	}
	defer unix.Close(int(fd))
	for path, access := range allowed(self, lib, dir, owned) {
		if err := allow(int(fd), path, access, handled); err != nil {
			return err
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("giving up new privileges: %w", err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return fmt.Errorf("restricting the process: %w", errno)
	}
	return nil
}

// allowed lists what the process keeps.
func allowed(self, lib, dir string, owned uint64) map[string]uint64 {
	return map[string]uint64{
		dir:  owned,
		self: landRead,
		lib:  landRead,
		// The system's libraries, and what libraries read about the system.
		"/lib": landRead, "/lib64": landRead, "/usr/lib": landRead, "/usr/lib64": landRead, "/nix/store": landRead,
		"/etc/ld.so.cache": landRead, "/etc/localtime": landRead, "/usr/share/zoneinfo": landRead,
		"/proc": landRead, "/sys": landRead,
		"/dev/null": landRead | unix.LANDLOCK_ACCESS_FS_WRITE_FILE, "/dev/urandom": landRead, "/dev/random": landRead,
	}
}

func allow(ruleset int, path string, access, handled uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("looking at %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		access &= unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: access & handled, Parent_fd: int32(fd)}
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0); errno != 0 {
		return fmt.Errorf("allowing %s: %w", path, errno)
	}
	return nil
}
