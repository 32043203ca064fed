package http2

import (
	"encoding/binary"
	"fmt"
)

// Preface is what a client begins a connection with.
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

type frameType uint8

const (
	frameData frameType = iota
	frameHeaders
	framePriority
	frameReset
	frameSettings
	framePush
	framePing
	frameGoAway
	frameWindow
	frameContinuation
)

// Flags of frames.
const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// Code says why a stream or a connection ended.
type Code uint32

// The codes.
const (
	NoError Code = iota
	ProtocolError
	InternalError
	FlowControlError
	SettingsTimeout
	StreamClosed
	FrameSizeError
	RefusedStream
	Cancel
	CompressionError
	ConnectError
	EnhanceYourCalm
	InadequateSecurity
	HTTP11Required
)

// ResetError is the end of a stream that one side broke off.
type ResetError struct {
	Code Code
	Peer bool // by the peer
}

// Error implements error.
func (e *ResetError) Error() string {
	by := "here"
	if e.Peer {
		by = "by the peer"
	}
	return fmt.Sprintf("http2: the stream was reset %s: code %d", by, e.Code)
}

// connError ends a connection for what the peer did.
type connError struct {
	code   Code
	reason string
}

func (e *connError) Error() string { return fmt.Sprintf("http2: code %d: %s", e.code, e.reason) }

func broken(code Code, reason string) error { return &connError{code, reason} }

type settingID uint16

const (
	settingTableSize settingID = 1 + iota
	settingPush
	settingMaxStreams
	settingWindow
	settingMaxFrame
	settingMaxHead
	settingConnect settingID = 8 // RFC 8441
)

// Sizes in bytes.
const (
	frameHeader   = 9
	minFrame      = 16 << 10 // what SETTINGS_MAX_FRAME_SIZE begins with, and stays for what we take
	maxFrame      = 1<<24 - 1
	firstWindow   = 64<<10 - 1 // what windows begin with
	maxWindow     = 1<<31 - 1
	maxStreamID   = 1<<31 - 1
	settingLength = 6
)

func appendFrame(b []byte, length int, t frameType, flags byte, stream uint32) []byte {
	return append(b, byte(length>>16), byte(length>>8), byte(length), byte(t), flags, byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

func appendWindow(b []byte, stream uint32, n int) []byte {
	return binary.BigEndian.AppendUint32(appendFrame(b, 4, frameWindow, 0, stream), uint32(n))
}

func appendReset(b []byte, stream uint32, code Code) []byte {
	return binary.BigEndian.AppendUint32(appendFrame(b, 4, frameReset, 0, stream), uint32(code))
}

func appendGoAway(b []byte, last uint32, code Code, why string) []byte {
	b = binary.BigEndian.AppendUint32(appendFrame(b, 8+len(why), frameGoAway, 0, 0), last)
	return append(binary.BigEndian.AppendUint32(b, uint32(code)), why...)
}

func appendSetting(b []byte, id settingID, v uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, uint16(id)), v)
}
