package volume

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/xinhari/xinhari/hack/devcluster/internal/node/pod"
)

// kept are the ConfigMaps of a namespace; there are no Secrets.
type kept map[string]map[string]string

func (k kept) ConfigMap(name string) (*corev1.ConfigMap, error) {
	if data, ok := k[name]; ok {
		return &corev1.ConfigMap{Data: data}, nil
	}
	return nil, nil
}

func (kept) Secret(string) (*corev1.Secret, error) { return nil, nil }

type issuer struct{}

func (issuer) Token(_ context.Context, audience string, _ int64) (string, error) {
	return "token for " + audience, nil
}

func pointer[T any](v T) *T { return &v }

func settings(items ...corev1.KeyToPath) corev1.VolumeSource {
	return corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}, Items: items}}
}

func TestPayload(t *testing.T) {
	type file struct {
		Content string
		Mode    int32
	}
	tests := []struct {
		name    string
		source  corev1.VolumeSource
		want    map[string]file
		missing bool
	}{
		{name: "all keys", source: settings(), want: map[string]file{"color": {"red", 0o644}, "size": {"9", 0o644}}},
		{
			name: "one key, elsewhere", source: settings(corev1.KeyToPath{Key: "size", Path: "a/b", Mode: pointer(int32(0o400))}),
			want: map[string]file{"a/b": {"9", 0o400}},
		},
		{name: "a missing key", source: settings(corev1.KeyToPath{Key: "absent", Path: "x"}), missing: true},
		{name: "a missing Secret", source: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "absent"}}, missing: true},
		{name: "a missing Secret that is optional", source: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "absent", Optional: pointer(true)}}, want: map[string]file{}},
		{
			name: "projected",
			source: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{DefaultMode: pointer(int32(0o440)), Sources: []corev1.VolumeProjection{
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "me", Path: "token"}},
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}, Items: []corev1.KeyToPath{{Key: "color", Path: "color"}}}},
				{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
					{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}},
				}}},
			}}},
			want: map[string]file{"token": {"token for me", 0o440}, "color": {"red", 0o440}, "labels": {`app="web"`, 0o440}},
		},
	}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: map[string]string{"app": "web"}}}
	sources := Sources{Objects: kept{"settings": {"color": "red", "size": "9"}}, Tokens: issuer{}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			payload, err := Payload(t.Context(), p, &corev1.Volume{Name: "v", VolumeSource: test.source}, sources)
			if errors.Is(err, pod.ErrMissing) != test.missing {
				t.Fatal(err)
			}
			if test.missing {
				return
			}
			got := map[string]file{}
			for path, f := range payload {
				got[path] = file{string(f.Data), f.Mode}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFillRenewsInPlace(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "volumes")
	p := &corev1.Pod{Spec: corev1.PodSpec{Volumes: []corev1.Volume{
		{Name: "settings", VolumeSource: settings()},
		{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
	}}}
	objects := kept{"settings": {"color": "red", "size": "9"}}
	sources := Sources{Objects: objects, Tokens: issuer{}}
	fill := func() {
		t.Helper()
		if err := Fill(t.Context(), dir, p, sources); err != nil {
			t.Fatal(err)
		}
	}
	link := func() string {
		target, err := os.Readlink(filepath.Join(dir, "settings", "..data"))
		if err != nil {
			t.Fatal(err)
		}
		return target
	}
	fill()
	if err := os.WriteFile(filepath.Join(dir, "scratch", "f"), []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	first := link()
	fill()
	if link() != first {
		t.Error("the same content was written again")
	}
	objects["settings"] = map[string]string{"color": "blue"}
	fill()
	if got, err := os.ReadFile(filepath.Join(dir, "settings", "color")); err != nil || string(got) != "blue" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "settings", "size")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a key that is no more: %v", err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "scratch", "f")); err != nil || string(got) != "kept" {
		t.Errorf("%q, %v", got, err)
	}
	if err := Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := Remove(dir); err != nil {
		t.Errorf("remove again: %v", err)
	}
}
