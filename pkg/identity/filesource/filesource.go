// Package filesource takes credentials from mounted files: a Kubernetes
// Secret, csi-driver-spiffe, or SPIRE's helper. Somebody else renews them; the
// files are read again and again, and new content is taken without a restart.
//
// No half-written pair is taken: key and certificate must belong together, the
// chain must verify against the roots, and a change must look the same in two
// reads. Until then the last good credentials stay, and the error is logged.
//
// The certificate must serve servers and clients, and carry besides its SPIFFE
// ID the DNS name <service>.<namespace>.svc, by which clients verify servers.
package filesource

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/xinhari/xinhari/internal/pemfile"
	"github.com/xinhari/xinhari/pkg/identity"
)

const (
	defaultPoll = 2 * time.Second
	maxSize     = 1 << 20 // of a file: more than any chain or bundle needs
)

// Options are the options of New; the zero value is good.
type Options struct {
	// Certificate is the file with the chain, leaf first; "" is tls.crt.
	Certificate string

	// Key is the file with the private key; "" is tls.key.
	Key string

	// Roots is the file with the roots to trust; "" is ca.crt.
	Roots string

	// Source holds the options of the Source. Its Poll is how often the files
	// are read; 0 is 2 s.
	Source identity.SourceOptions
}

// New returns a Source that reads the files in folder. It does not read them
// before it runs.
func New(folder string, o Options) (*identity.Source, error) {
	if folder == "" {
		return nil, errors.New("filesource: the folder is missing")
	}
	path := func(name, without string) string {
		if name == "" {
			name = without
		}
		if filepath.IsAbs(name) {
			return name
		}
		return filepath.Join(folder, name)
	}
	if o.Source.Poll <= 0 {
		o.Source.Poll = defaultPoll
	}
	now := o.Source.Now
	if now == nil {
		now = time.Now
	}
	return identity.NewSource(&driver{
		certificate: path(o.Certificate, "tls.crt"),
		key:         path(o.Key, "tls.key"),
		roots:       path(o.Roots, "ca.crt"),
		now:         now,
	}, o.Source), nil
}

// driver is used by one goroutine at a time.
type driver struct {
	certificate, key, roots string
	now                     func() time.Time

	seen  [sha256.Size]byte // what the last read found
	taken identity.Issued   // what was last returned
}

func (*driver) Name() string { return "files" }

// Issue returns what the files say, or what they said as long as a change has
// not been seen twice.
func (d *driver) Issue(context.Context, identity.Request) (identity.Issued, error) {
	content, sum, err := d.read()
	if err != nil {
		return identity.Issued{}, err
	}
	settled := sum == d.seen
	d.seen = sum
	if !settled && d.taken.Key != nil {
		return d.taken, nil
	}
	issued, err := parse(content)
	if err != nil {
		return identity.Issued{}, err
	}
	if _, err := identity.NewCredentials(issued.Chain, issued.Key, issued.Roots, d.now()); err == nil {
		d.taken = issued
	}
	return issued, nil
}

type content struct{ certificate, key, roots []byte }

func (d *driver) read() (content, [sha256.Size]byte, error) {
	var c content
	sum := sha256.New()
	for _, f := range []struct {
		path string
		into *[]byte
	}{{d.certificate, &c.certificate}, {d.key, &c.key}, {d.roots, &c.roots}} {
		data, err := readFile(f.path)
		if err != nil {
			return content{}, [sha256.Size]byte{}, err
		}
		_, _ = fmt.Fprintf(sum, "%d\n", len(data)) // a hash takes everything
		sum.Write(data)
		*f.into = data
	}
	return c, [sha256.Size]byte(sum.Sum(nil)), nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxSize:
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxSize)
	}
	return data, nil
}

func parse(c content) (identity.Issued, error) {
	chain, err := pemfile.Certificates(c.certificate)
	if err != nil {
		return identity.Issued{}, fmt.Errorf("certificate: %w", err)
	}
	roots, err := pemfile.Certificates(c.roots)
	if err != nil {
		return identity.Issued{}, fmt.Errorf("roots: %w", err)
	}
	key, err := pemfile.Key(c.key)
	if err != nil {
		return identity.Issued{}, fmt.Errorf("key: %w", err)
	}
	return identity.Issued{Chain: chain, Key: key, Roots: roots}, nil
}
