// Command curia is the agent of a service catalog and mesh, and the command line that talks to it.
package main

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/curia-mesh/curia/agent/command"
)

func main() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	os.Exit(command.Run(os.Args[1:], command.IO{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Signals: signals,
	}))
}
