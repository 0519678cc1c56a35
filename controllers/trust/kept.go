package trust

import (
	"crypto/x509"
	"time"

	"github.com/xinhari/xinhari/controllers/signer/leaf"
)

// Kept is a key pair that programs read from an object, and ask for by no request.
type Kept struct {
	Namespace string
	Object    string                // kind and name of the object, for people
	Bundle    string                // hash of the bundle that all who read it have by now; empty is none for sure
	Chains    [][]*x509.Certificate // every certificate that one of them may use; of an empty one nothing is known
	Until     time.Time             // when one of which nothing is known has ended for sure
}

// holder returns what a rotation waits for: that all who read the object trust the bundle, and that each certificate which
// one of them may use is under the roots.
func (k Kept) holder(roots []*x509.Certificate) *Holder {
	h := &Holder{Namespace: k.Namespace, Pod: k.Object, Bundle: short(k.Bundle)}
	for i, chain := range k.Chains {
		if len(chain) == 0 {
			h.Roots = nil
			if ends := k.Until.UTC(); ends.After(h.Ends) {
				h.Ends = ends
			}
			continue
		}
		if ends := chain[0].NotAfter.UTC(); ends.After(h.Ends) {
			h.Ends = ends
		}
		if issued := leaf.Issued(chain[0]).UTC(); issued.After(h.Issued) {
			h.Issued = issued
		}
		names := under(chain, roots)
		if i > 0 {
			names = minus(names, minus(names, h.Roots))
		}
		h.Roots = names
	}
	return h
}
