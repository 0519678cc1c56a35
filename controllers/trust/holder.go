package trust

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"

	"github.com/xinhari/xinhari/controllers/signer"
	"github.com/xinhari/xinhari/controllers/signer/leaf"
	"github.com/xinhari/xinhari/internal/pemfile"
)

// Holder is a runtime in a pod, and what its newest certificate tells. A runtime that does not name itself is a holder anew
// with each certificate.
type Holder struct {
	Namespace string
	Pod       string
	UID       string // of the pod
	Source    string // what the runtime calls itself; of one that does not, a name made of its certificate
	Bundle    string // short hash of the bundle that it used when it asked; empty is none
	Roots     []string
	Issued    time.Time
	Ends      time.Time
	Version   string // resource version of the signed request, to tell certificates of one second apart
}

// key names the holder, as a key of a ConfigMap.
func (h *Holder) key() string { return h.UID + "." + h.Source }

// holderOf returns the holder of a request that was signed, or nil. What it says of itself is the bundle and its own name;
// all else is what the API server says of the requester, and the certificate.
func holderOf(r *certificatesv1.CertificateSigningRequest, roots []*x509.Certificate) *Holder {
	claim, denial := signer.ClaimOf(r)
	if denial != nil || len(r.Status.Certificate) == 0 {
		return nil
	}
	chain, err := pemfile.Certificates(r.Status.Certificate)
	if err != nil {
		return nil
	}
	source := signer.SourceOf(r)
	if source == "" {
		sum := sha256.Sum256(chain[0].Raw)
		source = "leaf-" + hex.EncodeToString(sum[:6])
	}
	return &Holder{
		Namespace: claim.Namespace, Pod: claim.Pod, UID: claim.PodUID, Source: source, Bundle: short(signer.BundleHashOf(r)),
		Roots: under(chain, roots), Issued: leaf.Issued(chain[0]).UTC(), Ends: chain[0].NotAfter.UTC(), Version: r.ResourceVersion,
	}
}

// under returns the names of the roots that a chain verifies with while its leaf is valid.
func under(chain, roots []*x509.Certificate) []string {
	between := x509.NewCertPool()
	for _, cert := range chain[1:] {
		between.AddCert(cert)
	}
	var names []string
	for _, root := range roots {
		only := x509.NewCertPool()
		only.AddCert(root)
		_, err := chain[0].Verify(x509.VerifyOptions{
			Roots: only, Intermediates: between, CurrentTime: chain[0].NotAfter, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		})
		if err == nil {
			names = append(names, name(root))
		}
	}
	return names
}

// name returns the name of a root: the first 16 digits of the SHA-256 of its certificate.
func name(root *x509.Certificate) string {
	sum := sha256.Sum256(root.Raw)
	return hex.EncodeToString(sum[:8])
}

// replaces says whether h is newer than what is known of the same holder. Times of certificates have whole seconds, so of
// two of one second the one that the API server wrote later is newer.
func (h *Holder) replaces(known *Holder) bool {
	if !h.Issued.Equal(known.Issued) {
		return h.Issued.After(known.Issued)
	}
	return len(h.Version) > len(known.Version) || len(h.Version) == len(known.Version) && h.Version > known.Version
}

// record returns what a record says of the holder, beside its key.
func (h *Holder) record() string {
	return fmt.Sprintf("%s/%s bundle=%s roots=%s issued=%s ends=%s version=%s",
		h.Namespace, h.Pod, h.Bundle, strings.Join(h.Roots, ","), h.Issued.Format(time.RFC3339), h.Ends.Format(time.RFC3339), h.Version)
}

// parseRecord reads what record wrote.
func parseRecord(key, value string) (*Holder, error) {
	h := new(Holder)
	var ok, both bool
	h.UID, h.Source, ok = strings.Cut(key, ".")
	fields := strings.Split(value, " ")
	if !ok || len(fields) != 6 {
		return nil, fmt.Errorf("record %s is not one of a certificate", key)
	}
	h.Namespace, h.Pod, both = strings.Cut(fields[0], "/")
	var values [5]string
	for i, name := range []string{"bundle", "roots", "issued", "ends", "version"} {
		values[i], ok = strings.CutPrefix(fields[i+1], name+"=")
		both = both && ok
	}
	var errs [2]error
	h.Issued, errs[0] = time.Parse(time.RFC3339, values[2])
	h.Ends, errs[1] = time.Parse(time.RFC3339, values[3])
	if !both || errs[0] != nil || errs[1] != nil {
		return nil, fmt.Errorf("record %s is not one of a certificate", key)
	}
	h.Bundle, h.Version = values[0], values[4]
	if values[1] != "" {
		h.Roots = strings.Split(values[1], ",")
	}
	h.Issued, h.Ends = h.Issued.UTC(), h.Ends.UTC()
	return h, nil
}

// merge returns what is known of the holder by the same certificate read again, after a restart: roots that ceased to be
// trusted meanwhile are still those that it is under, and an acknowledgement that is void stays so.
func (h *Holder) merge(again *Holder) *Holder {
	m := *h
	m.Roots = union(h.Roots, again.Roots)
	return &m
}
