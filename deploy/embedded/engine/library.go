package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// LibraryEnv names the library, before any folder is looked into.
const LibraryEnv = "HOOKLEDGER_ENGINE_LIB"

// FindLibrary returns the path of libchdb: what HOOKLEDGER_ENGINE_LIB names, else
// the first of dirs that holds it, itself or in its node_modules. What the
// environment names must exist: falling back would run another engine than the
// operator asked for.
func FindLibrary(dirs ...string) (string, error) {
	if path := os.Getenv(LibraryEnv); path != "" {
		if err := isFile(path); err != nil {
			return "", fmt.Errorf("the engine library that %s names: %w: unset it, and run `make engine`", LibraryEnv, err)
		}
		return filepath.Abs(path)
	}
	var tried []string
	for _, dir := range dirs {
		for _, name := range libraryNames() {
			for _, path := range []string{
				filepath.Join(dir, name),
				filepath.Join(dir, "node_modules", "@chdb", libraryPackage(), name),
			} {
				if isFile(path) == nil {
					return filepath.Abs(path)
				}
				tried = append(tried, path)
			}
		}
	}
	return "", fmt.Errorf("the engine library is missing (looked at %s): run `make engine`, or set %s, or give a ClickHouse server with --clickhouse-dsn",
		strings.Join(tried, ", "), LibraryEnv)
}

func isFile(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return fmt.Errorf("%s is a folder", path)
	}
	return nil
}

// libraryNames are the names that the library goes by.
func libraryNames() []string {
	if runtime.GOOS == "darwin" {
		return []string{"libchdb.so", "libchdb.dylib"}
	}
	return []string{"libchdb.so"}
}

// libraryPackage is the npm package for this machine.
func libraryPackage() string {
	arch := runtime.GOARCH
	if arch == "amd64" {
		arch = "x64"
	}
	if runtime.GOOS == "linux" {
		return "lib-linux-" + arch + "-gnu"
	}
	return "lib-" + runtime.GOOS + "-" + arch
}
