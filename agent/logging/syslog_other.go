//go:build windows || plan9

package logging

import "errors"

func dialSyslog(_, _, _ string) (syslogWriter, error) {
	return nil, errors.New("enable_syslog: this platform has no syslog: use log_file instead")
}
