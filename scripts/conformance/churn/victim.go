//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// victimWord is the argument by which this program is the application of a victim.
const victimWord = "victim"

// worked is how long such an application takes for a request, so that there are some under way when it dies.
const worked = 20 * time.Millisecond

// beVictim serves HTTP and TCP, says where, and goes on until it is killed.
func beVictim() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	echo, err := startEcho()
	if err != nil {
		return err
	}
	fmt.Println(l.Addr(), echo.Addr())
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		time.Sleep(worked)
		w.Write(body)
	}))
}

// victim is a process that is an instance of page, of HTTP, and of line, of TCP.
type victim struct {
	id       string
	ports    [2]int // of its sidecars
	alone    bool   // each of its sidecars has a process of its own, which dies with it
	app      *exec.Cmd
	sidecars []*exec.Cmd
}

// names are the services that a victim is an instance of.
var names = [2]string{"page", "line"}

// start starts the application, registers it, and starts its sidecars where the agent does not.
func (v *victim) start(ctx context.Context, m *mesh) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	v.app = exec.Command(self, victimWord)
	v.app.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := v.app.StdoutPipe()
	if err != nil {
		return err
	}
	if err := v.app.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	addrs := strings.Fields(line)
	if err != nil || len(addrs) != len(names) {
		return fmt.Errorf("the application of %s says %q: %w", v.id, line, err)
	}
	for i, name := range names {
		side := sidecar(v.ports[i], nil)
		if v.alone {
			side["SidecarService"].(map[string]any)["Proxy"] = map[string]any{"Config": map[string]any{"managed": false}}
		}
		if err := m.put(ctx, m.client, "/v1/agent/service/register", map[string]any{
			"ID": name + v.id, "Name": name, "Port": port(addrs[i]), "Connect": side,
		}); err != nil {
			return err
		}
		if !v.alone {
			continue
		}
		log, err := os.OpenFile(filepath.Join(m.dir, name+v.id+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		c := exec.Command(m.curia, "connect", "proxy", "-sidecar-for="+name+v.id, "-http-addr="+m.client.http)
		c.Stdout, c.Stderr = log, log
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := errors.Join(c.Start(), log.Close()); err != nil {
			return err
		}
		v.sidecars = append(v.sidecars, c)
	}
	return nil
}

// signal sends all processes of the victim a signal.
func (v *victim) signal(s syscall.Signal) (err error) {
	for _, c := range append([]*exec.Cmd{v.app}, v.sidecars...) {
		if c != nil && c.Process != nil {
			err = errors.Join(err, c.Process.Signal(s))
		}
	}
	return err
}

// kill ends all of them, without notice.
func (v *victim) kill() error {
	if v.app == nil {
		return nil
	}
	err := v.signal(syscall.SIGKILL)
	for _, c := range append([]*exec.Cmd{v.app}, v.sidecars...) {
		c.Wait()
	}
	v.app, v.sidecars = nil, nil
	return err
}

// remove takes the instances out of the catalog, as who watches over them does in the end.
func (v *victim) remove(ctx context.Context, m *mesh) error {
	for _, name := range names {
		if err := m.put(ctx, m.client, "/v1/agent/service/deregister/"+name+v.id, nil); err != nil {
			return err
		}
	}
	return nil
}
