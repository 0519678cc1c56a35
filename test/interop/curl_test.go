package interop

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
)

// answer is what an HTTP client gets.
type answer struct {
	status string // three digits
	body   string
}

// curl posts body with the machine's curl; without one, as curl would, by
// net/http.
func (s *server) curl(t *testing.T, h2 bool, path, body string, headers ...string) answer {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		return s.likeCurl(t, h2, path, body, headers...)
	}
	url := s.url(path)
	args := []string{"--silent", "--show-error", "--max-time", "20", "--write-out", "%{stderr}%{http_code}", "--data-binary", "@-"}
	for _, h := range headers {
		args = append(args, "--header", h)
	}
	switch {
	case s.caller != nil:
		certificate, key, roots := s.files(t)
		const name = "test.default.svc"
		url = "https://" + name + path
		args = append(args, "--cert", certificate, "--key", key, "--cacert", roots, "--connect-to", name+":443:"+s.addr)
		if !h2 {
			args = append(args, "--http1.1")
		}
	case h2:
		args = append(args, "--http2-prior-knowledge")
	}
	cmd := exec.CommandContext(t.Context(), "curl", append(args, url)...)
	var out, status bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(body), &out, &status
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, status.String())
	}
	return answer{status: status.String(), body: out.String()}
}

func (s *server) likeCurl(t *testing.T, h2 bool, path, body string, headers ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url(path), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	response, err := s.client(t, h2).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{status: response.Status[:3], body: string(got)}
}

// framed puts Connect's prefix before a message of a stream.
func framed(flags byte, message string) string {
	return string(binary.BigEndian.AppendUint32([]byte{flags}, uint32(len(message)))) + message
}

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := io.WriteString(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestCurl(t *testing.T) {
	const json, stream = "Content-Type: application/json", "Content-Type: application/connect+json"
	for _, tt := range []struct {
		name, path, body string
		headers          []string
		want             answer
	}{
		{name: "a plain handler", path: "/Greeter/Hello", body: `{"name":"Joe","n":9007199254740993}`, headers: []string{json},
			want: answer{"200", `{"name":"Hello Joe","n":9007199254740993}`}},
		{name: "a generated service", path: testService + "UnaryCall", body: `{"responseSize":3}`, headers: []string{json},
			want: answer{"200", `{"payload":{"body":"AAAA"}}`}},
		{name: "compressed", path: "/Greeter/Hello", body: gzipped(t, `{"name":"Joe"}`), headers: []string{json, "Content-Encoding: gzip"},
			want: answer{"200", `{"name":"Hello Joe","n":0}`}},
		{name: "a unary call of a method that streams", path: testService + "FullDuplexCall", body: "{}", headers: []string{json},
			want: answer{"415", `application/connect+json`}},
		{name: "an error", path: "/Greeter/Fail", body: `{}`, headers: []string{json},
			want: answer{"400", `"code":"failed_precondition","message":"no “teapot”: 100%\n"`}},
		{name: "no such method", path: "/Greeter/Bye", body: `{}`, headers: []string{json},
			want: answer{"404", `"unimplemented"`}},
		{name: "a form", path: "/Greeter/Hello", body: `name=Joe`,
			want: answer{"415", `Content-Type: application/json`}},
		{name: "a stream", path: testService + "StreamingOutputCall",
			body: framed(0, `{"responseParameters":[{"size":1},{"size":2}]}`), headers: []string{stream},
			want: answer{"200", `{"payload":{"body":"AAA="}}` + framed(2, `{}`)}},
		{name: "a stream of no such method", path: testService + "Nope", body: framed(0, `{}`), headers: []string{stream},
			want: answer{"200", `{"error":{"code":"unimplemented"`}},
	} {
		for _, secure := range []bool{false, true} {
			for _, h2 := range []bool{false, true} {
				t.Run(map[bool]string{false: "plaintext ", true: "mTLS "}[secure]+map[bool]string{false: "HTTP/1.1 ", true: "HTTP/2 "}[h2]+tt.name, func(t *testing.T) {
					got := serve(t, secure).curl(t, h2, tt.path, tt.body, tt.headers...)
					// protojson puts in a space at times, on purpose.
					if body := strings.ReplaceAll(got.body, `": `, `":`); got.status != tt.want.status || !strings.Contains(body, tt.want.body) {
						t.Errorf("got %s %q, want %s %q", got.status, got.body, tt.want.status, tt.want.body)
					}
				})
			}
		}
	}
}
