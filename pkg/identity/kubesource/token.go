package kubesource

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"os"
	"strings"

	"k8s.io/client-go/rest"
)

const maxToken = 64 << 10 // more than any token has

// token returns the token of a configuration, as it is now; "" if there is none.
func token(config *rest.Config) string {
	if config.BearerTokenFile == "" {
		return config.BearerToken
	}
	f, err := os.Open(config.BearerTokenFile)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxToken))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// tokenAccount returns the ServiceAccount that a token says it is of (RFC 7519
// section 4.1.2), or "". Nobody verified that: it is for messages only.
func tokenAccount(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return ""
	}
	subject := strings.Split(claims.Subject, ":")
	if len(subject) != 4 || subject[0] != "system" || subject[1] != "serviceaccount" {
		return ""
	}
	return subject[3]
}
