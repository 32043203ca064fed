package conformance

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// product is the path of the binary under test.
var product string

func TestMain(m *testing.M) { os.Exit(run(m)) }

// parallel is how many tests run at a time: they mostly wait for the agents.
const parallel = "8"

// run builds the product, unless a binary is given, and runs the tests.
func run(m *testing.M) int {
	flag.Parse()
	flag.Set("test.parallel", parallel)
	// The official client reads its defaults from the environment, and so does the product.
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "CONSUL_") || strings.HasPrefix(name, "CURIA_") {
			os.Unsetenv(name)
		}
	}
	if product = os.Getenv("CONFORMANCE_BINARY"); product != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "conformance")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	product = filepath.Join(dir, "curia")
	build := exec.Command("go", "build", "-C", "../..", "-o", product, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the product: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}
