// Package pemfile reads certificates and private keys from the text of PEM
// files. A file must be whole: text that ends within a block, as of a file that
// is still being written, is an error. No error holds a part of a key.
package pemfile

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

const certificateType = "CERTIFICATE"

// Certificates returns the certificates of a file, of which there must be at
// least one. Other blocks are an error: a key does not belong in a bundle.
func Certificates(text []byte) ([]*x509.Certificate, error) {
	blocks, err := blocks(text)
	if err != nil {
		return nil, err
	}
	certs := make([]*x509.Certificate, 0, len(blocks))
	for _, b := range blocks {
		if b.Type != certificateType {
			return nil, fmt.Errorf("there is a block %q among the certificates", b.Type)
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New("there is no certificate")
	}
	return certs, nil
}

// Key returns the one private key of a file: PKCS #8, or the older forms for
// ECDSA and RSA. Blocks of other types are passed over.
func Key(text []byte) (crypto.Signer, error) {
	blocks, err := blocks(text)
	if err != nil {
		return nil, err
	}
	var found crypto.Signer
	for _, b := range blocks {
		var key any
		var err error
		switch b.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(b.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(b.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(b.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("the private key is encrypted")
		default:
			continue
		}
		if err != nil {
			return nil, errors.New("the private key cannot be parsed") // the cause might quote it
		}
		signer, ok := key.(crypto.Signer)
		switch {
		case !ok:
			return nil, fmt.Errorf("the private key (%T) cannot sign", key)
		case found != nil:
			return nil, errors.New("there is more than one private key")
		}
		found = signer
	}
	if found == nil {
		return nil, errors.New("there is no private key")
	}
	return found, nil
}

// EncodeCertificates returns the certificates as the text of a PEM file.
func EncodeCertificates(certs ...*x509.Certificate) []byte {
	var text []byte
	for _, c := range certs {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: certificateType, Bytes: c.Raw})...)
	}
	return text
}

// EncodeKey returns the key as the text of a PEM file, PKCS #8.
func EncodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func blocks(text []byte) ([]*pem.Block, error) {
	var all []*pem.Block
	starts := bytes.Count(text, []byte("-----BEGIN "))
	for {
		b, rest := pem.Decode(text)
		if b == nil {
			break
		}
		all = append(all, b)
		text = rest
	}
	if len(all) != starts { // pem.Decode passes over what is damaged
		return nil, errors.New("a PEM block is damaged or cut off")
	}
	return all, nil
}
