// Package material writes certificates of the runtime's local CA to files, for
// programs that do not link the runtime.
package material

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"

	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/identity/localsource"
)

// Write writes NAME.crt and NAME.key for each name, a service of the namespace
// default, and ca.crt into folder. The CA is that of the folder ca.
func Write(ctx context.Context, folder, ca string, names ...string) error {
	for _, name := range names {
		c, err := issue(ctx, ca, name)
		if err != nil {
			return fmt.Errorf("certificate of %s: %w", name, err)
		}
		key, err := x509.MarshalPKCS8PrivateKey(c.Certificate().PrivateKey)
		if err != nil {
			return fmt.Errorf("key of %s: %w", name, err)
		}
		var roots [][]byte
		for _, root := range c.Bundle() {
			roots = append(roots, root.Raw)
		}
		for file, blocks := range map[string][]byte{
			name + ".crt": encode("CERTIFICATE", c.Certificate().Certificate...),
			name + ".key": encode("PRIVATE KEY", key),
			"ca.crt":      encode("CERTIFICATE", roots...),
		} {
			if err := os.WriteFile(filepath.Join(folder, file), blocks, 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

// issue runs a source for as long as it takes to have a certificate.
func issue(ctx context.Context, ca, name string) (identity.Credentials, error) {
	source, err := localsource.New(name, localsource.Options{Dir: ca})
	if err != nil {
		return identity.Credentials{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- source.Run(ctx) }()
	select {
	case <-source.Ready():
		cancel()
		return source.Current(), <-ended
	case err = <-ended:
		cancel()
		return identity.Credentials{}, err
	}
}

func encode(kind string, blocks ...[]byte) []byte {
	var text []byte
	for _, b := range blocks {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b})...)
	}
	return text
}
