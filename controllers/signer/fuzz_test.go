package signer

import (
	"encoding/pem"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
)

// FuzzEvaluate holds that a verdict is exactly one of three, and that what is signed names the requester and nobody else,
// whatever stands in the request and about the pod.
func FuzzEvaluate(f *testing.F) {
	in := good(f)
	block, _ := pem.Decode(in.Request.Spec.Request)
	f.Add(block.Bytes, in.Request.Spec.Username, "u1", "inventory", "app", "inventory", int32(600), uint8(0))
	f.Add([]byte("x"), "system:serviceaccount:shop:", "", "", "", "", int32(-1), uint8(255))
	f.Fuzz(func(t *testing.T, der []byte, username, uid, account, key, value string, seconds int32, flags uint8) {
		in := *in
		r := in.Request.DeepCopy()
		in.Request = r
		r.Spec.Request = pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der})
		if flags&1 != 0 {
			r.Spec.Request = der
		}
		r.Spec.Username = username
		r.Spec.Extra[extraPodUID] = certificatesv1.ExtraValue{uid}
		r.Spec.ExpirationSeconds = &seconds
		if flags&2 != 0 {
			r.Spec.ExpirationSeconds = nil
		}
		in.Pod = in.Pod.DeepCopy()
		in.Pod.Spec.ServiceAccountName = account
		in.Pod.Labels = map[string]string{key: value}
		if flags&4 != 0 {
			in.Pod.Status.Phase = corev1.PodFailed
		}
		v := Evaluate(in)
		count := 0
		for _, set := range []bool{v.Sign != nil, v.Deny != nil, v.Wait != ""} {
			if set {
				count++
			}
		}
		if count != 1 {
			t.Fatalf("the verdict is %d things: %+v", count, v)
		}
		if v.Sign == nil {
			return
		}
		switch {
		case username != "system:serviceaccount:shop:inventory", uid != "u1", account != "inventory", flags&4 != 0:
			t.Errorf("signed for %s, pod %s of account %s", username, uid, account)
		case key != "app" || value != "inventory":
			t.Errorf("signed for a pod that no Service selects")
		case len(v.Sign.URIs) != 1 || v.Sign.URIs[0].String() != spiffeID || v.Sign.IsCA || v.Sign.Subject.String() != "":
			t.Errorf("signed for %v", v.Sign.URIs)
		case v.Sign.NotAfter.Sub(now) > 72*time.Hour || !v.Sign.NotAfter.After(now):
			t.Errorf("signed until %v", v.Sign.NotAfter)
		}
	})
}
