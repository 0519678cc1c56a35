package localsource

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/xinhari/xinhari/internal/pemfile"
	"github.com/xinhari/xinhari/pkg/identity"
)

const (
	caFile   = "ca.pem" // certificate and key together: there is no half of a pair
	caLife   = 10 * 365 * 24 * time.Hour
	maxSize  = 1 << 20
	dirMode  = 0o700
	fileMode = 0o600
)

// authority is the CA of a folder.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// open returns the CA of the folder dir, and makes both if they are missing.
// The folder stays open meanwhile, so that what was checked is what is used.
func open(dir string, now time.Time) (authority, error) {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return authority{}, fmt.Errorf("%w: the local CA's folder: %w: make it, or name another one by %s", identity.ErrSetup, err, EnvDir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return authority{}, fmt.Errorf("%w: the local CA's folder: %w", identity.ErrSetup, err)
	}
	defer func() { _ = root.Close() }()
	info, err := root.Stat(".")
	if err != nil {
		return authority{}, err
	}
	if err := private(dir, info); err != nil {
		return authority{}, err
	}
	ca, err := read(root, dir, now)
	if !errors.Is(err, fs.ErrNotExist) {
		return ca, err
	}
	if err := create(root, now); err != nil {
		return authority{}, fmt.Errorf("%w: making the local CA in %s: %w", identity.ErrSetup, dir, err)
	}
	return read(root, dir, now)
}

// read returns the folder's CA; the error matches fs.ErrNotExist if there is
// none.
func read(root *os.Root, dir string, now time.Time) (authority, error) {
	path := filepath.Join(dir, caFile)
	before, err := root.Lstat(caFile)
	if err != nil {
		return authority{}, err
	}
	if !before.Mode().IsRegular() { // before it is opened: opening a pipe waits
		return authority{}, fmt.Errorf("%w: %s is not a regular file: remove it", identity.ErrSetup, path)
	}
	f, err := root.Open(caFile)
	if err != nil {
		return authority{}, fmt.Errorf("%w: the local CA: %w", identity.ErrSetup, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return authority{}, err
	}
	if err := private(path, info); err != nil {
		return authority{}, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSize))
	if err != nil {
		return authority{}, err
	}
	ca, err := parse(text)
	if err == nil {
		err = ca.check(now)
	}
	if err != nil {
		return authority{}, fmt.Errorf("%w: the local CA %s: %w: remove the file and start all services again, and a new one is made", identity.ErrSetup, path, err)
	}
	return ca, nil
}

func parse(text []byte) (authority, error) {
	end := []byte("-----END CERTIFICATE-----\n")
	certificate, key, ok := bytes.Cut(text, end)
	if !ok {
		return authority{}, errors.New("there is no certificate")
	}
	certs, err := pemfile.Certificates(append(bytes.Clone(certificate), end...))
	if err != nil {
		return authority{}, err
	}
	signer, err := pemfile.Key(key)
	if err != nil {
		return authority{}, err
	}
	return authority{certs[0], signer}, nil
}

func (a authority) check(now time.Time) error {
	public, ok := a.certificate.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	switch {
	case !ok || !public.Equal(a.key.Public()):
		return errors.New("the key is not the certificate's")
	case !a.certificate.IsCA:
		return errors.New("the certificate is not a CA's")
	case now.After(a.certificate.NotAfter):
		return fmt.Errorf("it ended at %s", a.certificate.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// private refuses what others can read or change.
func private(path string, info fs.FileInfo) error {
	if why, mend := owner(path, info); why != "" {
		return fmt.Errorf("%w: %s %s: whoever can read the local CA can be any service: %s", identity.ErrSetup, path, why, mend)
	}
	return nil
}

// create makes a CA. It is written aside and then linked to its name, which
// fails if the name is taken: of all processes that try, one succeeds, and
// nobody ever reads half a file. To lose is no error.
func create(root *os.Root, now time.Time) (err error) {
	text, err := generate(now)
	if err != nil {
		return err
	}
	aside := caFile + "." + rand.Text()
	f, err := root.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Remove(aside)) }()
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := root.Link(aside, caFile); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// generate returns the text of a new CA's file. The names that it may sign are
// constrained, so that it is no danger in a browser that was told to trust it.
func generate(now time.Time) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:                     pkix.Name{CommonName: "Xinhari local CA " + rand.Text()[:8]},
		NotBefore:                   now.Add(-backdate),
		NotAfter:                    now.Add(caLife),
		KeyUsage:                    x509.KeyUsageCertSign,
		BasicConstraintsValid:       true,
		IsCA:                        true,
		MaxPathLenZero:              true,
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         []string{"svc"},
		PermittedURIDomains:         []string{TrustDomain},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	private, err := pemfile.EncodeKey(key)
	if err != nil {
		return nil, err
	}
	return append(pemfile.EncodeCertificates(certificate), private...), nil
}
