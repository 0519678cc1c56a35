// Package audit makes the API server's audit log readable: one line for each
// request, with when, who, what, the answer and how long it took.
package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// Writer turns the JSON lines that are written to it into text. What is no
// event of an audit log passes through as it is.
type Writer struct {
	out  io.Writer
	rest []byte // of an unfinished line
}

// NewWriter returns a Writer to out.
func NewWriter(out io.Writer) *Writer { return &Writer{out: out} }

// Write takes any part of the log.
func (w *Writer) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		i := bytes.IndexByte(w.rest, '\n')
		if i < 0 {
			return len(p), nil
		}
		line := Line(w.rest[:i])
		w.rest = w.rest[i+1:]
		if _, err := io.WriteString(w.out, line+"\n"); err != nil {
			return 0, err
		}
	}
}

// Line is one event as text: local time, user, verb, object or path, status code, duration.
func Line(event []byte) string {
	var e auditv1.Event
	if err := json.Unmarshal(event, &e); err != nil || e.Kind != "Event" {
		return string(event)
	}
	code := "-"
	if e.ResponseStatus != nil {
		code = fmt.Sprint(e.ResponseStatus.Code)
	}
	took := ""
	if e.Stage == auditv1.StageResponseComplete {
		took = " " + e.StageTimestamp.Sub(e.RequestReceivedTimestamp.Time).Round(100*time.Microsecond).String()
	}
	who := e.User.Username
	if e.ImpersonatedUser != nil {
		who += " as " + e.ImpersonatedUser.Username
	}
	return fmt.Sprintf("%s %s %s %s %s%s", e.RequestReceivedTimestamp.Local().Format("15:04:05.000"), who, e.Verb, object(&e), code, took)
}

// object is NAMESPACE/RESOURCE.GROUP/NAME/SUBRESOURCE as far as there is one, and a list's selectors; else the path.
func object(e *auditv1.Event) string {
	uri, err := url.Parse(e.RequestURI)
	if err != nil || e.ObjectRef == nil {
		return e.RequestURI
	}
	resource := e.ObjectRef.Resource
	if e.ObjectRef.APIGroup != "" {
		resource += "." + e.ObjectRef.APIGroup
	}
	parts := []string{}
	for _, part := range []string{e.ObjectRef.Namespace, resource, e.ObjectRef.Name, e.ObjectRef.Subresource} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	text := strings.Join(parts, "/")
	for _, name := range []string{"labelSelector", "fieldSelector"} {
		if value := uri.Query().Get(name); value != "" {
			text += fmt.Sprintf(" %s=%s", name, value)
		}
	}
	return text
}
