// The stand-in for images on real kubelets: the pause container of a pod, and a runner that measures nothing.
//
// As `pause` it waits for its end and reaps what its pod leaves. As `infpop-runner` it does what the model's name in
// its run spec says, so that a study chooses how its runs end.
package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

const (
	terminationMessage = "/dev/termination-log"
	heldBytes          = 2560 << 20
)

func main() {
	if filepath.Base(os.Args[0]) == "infpop-runner" {
		run()
		return
	}
	pause()
}

func pause() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		for {
			if child, _ := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); child <= 0 {
				break
			}
		}
	}
}

func run() {
	var spec struct {
		Model struct {
			Name string `json:"name"`
		} `json:"model"`
	}
	if err := json.Unmarshal([]byte(os.Getenv("INFPOP_RUN_SPEC")), &spec); err != nil {
		fail(err)
	}
	switch spec.Model.Name {
	case "stand-in/report":
		report()
	case "stand-in/eat-memory":
		eatMemory()
	case "stand-in/hold-memory":
		holdMemory()
	case "stand-in/listen":
		listen()
	case "stand-in/crash":
		fail(fmt.Errorf("crashed as it was told to"))
	default:
		pause()
	}
}

// report leaves what this process sees of its surroundings as the termination message.
func report() {
	facts := map[string]any{
		"uid":         os.Getuid(),
		"gid":         os.Getgid(),
		"status":      status("Seccomp", "CapBnd", "CapEff", "NoNewPrivs"),
		"writable":    writable("/", "/usr/local/bin", "/tmp", "/cache", "/dev/shm"),
		"shmBytes":    size("/dev/shm"),
		"node":        os.Getenv("INFPOP_NODE_NAME"),
		"hasApiToken": exists("/var/run/secrets/kubernetes.io/serviceaccount/token"),
		"variables":   variables("HTTPS_PROXY", "HUB_PASSWORD", "NODE_ADDRESS"),
		"certificate": text("/certs/ca.crt"),
	}
	text, err := json.Marshal(facts)
	if err != nil {
		fail(err)
	}
	if err := os.WriteFile(terminationMessage, text, 0o644); err != nil {
		fail(err)
	}
}

// eatMemory writes to ever more memory, until the kernel ends it.
func eatMemory() {
	var kept [][]byte
	for {
		block := make([]byte, 1<<20)
		touch(block)
		kept = append(kept, block)
	}
}

// holdMemory writes to 2.5 GiB of memory, no more, and keeps it until its end.
func holdMemory() {
	block := make([]byte, heldBytes)
	touch(block)
	pause()
	runtime.KeepAlive(block)
}

func touch(block []byte) {
	for i := 0; i < len(block); i += 4096 {
		block[i] = 1
	}
}

// listen tells the node that it is on to everybody who connects to port 9400.
func listen() {
	listener, err := net.Listen("tcp", ":9400")
	if err != nil {
		fail(err)
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			fail(err)
		}
		fmt.Fprintln(connection, os.Getenv("INFPOP_NODE_NAME"))
		connection.Close()
	}
}

func status(names ...string) map[string]string {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		fail(err)
	}
	found := map[string]string{}
	for _, line := range strings.Split(string(text), "\n") {
		key, value, _ := strings.Cut(line, ":")
		for _, name := range names {
			if key == name {
				found[name] = strings.TrimSpace(value)
			}
		}
	}
	return found
}

func writable(folders ...string) map[string]bool {
	found := map[string]bool{}
	for _, folder := range folders {
		name := filepath.Join(folder, "written")
		found[folder] = os.WriteFile(name, []byte("x"), 0o600) == nil
		_ = os.Remove(name)
	}
	return found
}

func size(folder string) uint64 {
	var found syscall.Statfs_t
	if err := syscall.Statfs(folder, &found); err != nil {
		fail(err)
	}
	return found.Blocks * uint64(found.Bsize)
}

func variables(names ...string) map[string]string {
	found := map[string]string{}
	for _, name := range names {
		if value, isSet := os.LookupEnv(name); isSet {
			found[name] = value
		}
	}
	return found
}

// text returns the content of a file, empty without one.
func text(name string) string {
	content, _ := os.ReadFile(name)
	return string(content)
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(3)
}
