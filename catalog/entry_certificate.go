package catalog

// InlineCertificate is a certificate with its key, for the listeners of API gateways.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/inline-certificate
type InlineCertificate struct {
	EntryHead
	Certificate string // PEM
	PrivateKey  string // PEM
}

// FileSystemCertificate is one that lies on the gateways' own disks.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/file-system-certificate
type FileSystemCertificate struct {
	EntryHead
	Certificate string // a path
	PrivateKey  string // a path
}

// Normalize implements ConfigEntry.
func (e *InlineCertificate) Normalize() { e.Hash = EntryHash(e) }

// Validate implements ConfigEntry.
func (e *InlineCertificate) Validate() error { return e.named() }

// Clone implements ConfigEntry.
func (e *InlineCertificate) Clone() ConfigEntry { return clone(e) }

// Normalize implements ConfigEntry.
func (e *FileSystemCertificate) Normalize() { e.Hash = EntryHash(e) }

// Validate implements ConfigEntry.
func (e *FileSystemCertificate) Validate() error { return e.named() }

// Clone implements ConfigEntry.
func (e *FileSystemCertificate) Clone() ConfigEntry { return clone(e) }
