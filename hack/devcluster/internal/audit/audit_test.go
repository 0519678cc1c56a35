package audit

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWriter(t *testing.T) {
	const log = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop/pods/web-1/status","verb":"patch","user":{"username":"system:node:node-1"},"objectRef":{"resource":"pods","namespace":"shop","name":"web-1","apiVersion":"v1","subresource":"status"},"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-11-22T19:07:30.359434Z","stageTimestamp":"2026-11-22T19:07:30.364434Z"}
{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","stage":"ResponseStarted","requestURI":"/apis/apps/v1/deployments?labelSelector=app%3Dweb\u0026watch=true","verb":"watch","user":{"username":"admin"},"impersonatedUser":{"username":"joe"},"objectRef":{"resource":"deployments","apiGroup":"apps","apiVersion":"v1"},"responseStatus":{"code":403},"requestReceivedTimestamp":"2026-11-22T19:07:31.000000Z","stageTimestamp":"2026-11-22T19:07:31.000000Z"}
{"kind":"Event","stage":"Panic","requestURI":"/readyz","verb":"get","user":{"username":"x"},"requestReceivedTimestamp":"2026-11-22T19:07:31.000000Z"}
{"kind":"Event","stage":"Panic","requestURI":"/%zz","verb":"get","user":{"username":"x"},"objectRef":{"resource":"pods"},"requestReceivedTimestamp":"2026-11-22T19:07:31.000000Z"}
{"kind":"Other"}
not JSON
unfinished`
	at := func(text string) string {
		when, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		return when.Local().Format("15:04:05.000")
	}
	second := at("2026-11-22T19:07:31.000000Z")
	want := at("2026-11-22T19:07:30.359434Z") + ` system:node:node-1 patch shop/pods/web-1/status 200 5ms
` + second + ` admin as joe watch deployments.apps labelSelector=app=web 403
` + second + ` x get /readyz -
` + second + ` x get /%zz -
{"kind":"Other"}
not JSON
`
	for name, reader := range map[string]io.Reader{
		"at once":      strings.NewReader(log),
		"byte by byte": iotest.OneByteReader(strings.NewReader(log)),
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			if _, err := io.Copy(NewWriter(&out), reader); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, out.String()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
