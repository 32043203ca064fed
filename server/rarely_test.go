package server

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		var r rarely
		for range 100 {
			r.warn(log, "refused")
		}
		time.Sleep(rarelyEvery)
		r.warn(log, "refused")
		if text := out.String(); strings.Count(text, "\n") != 2 || !strings.Contains(text, "more=99") {
			t.Errorf("the log says:\n%s", text)
		}
	})
}
