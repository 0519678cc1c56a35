package v1alpha1

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestDurationValue(t *testing.T) {
	for _, test := range []struct {
		in   Duration
		want time.Duration
		bad  bool
	}{
		{in: "30s", want: 30 * time.Second},
		{in: "1h30m", want: 90 * time.Minute},
		{in: "250ms", want: 250 * time.Millisecond},
		{in: "0s", want: 0},
		{in: "99999h99999h99999h99999h", want: 4 * 99999 * time.Hour},
		{in: "", bad: true},
		{in: "30", bad: true},
		{in: "1.5h", bad: true},
		{in: "-1s", bad: true},
		{in: "1d", bad: true},
		{in: "100000s", bad: true},
		{in: "1s\n", bad: true},
	} {
		got, err := test.in.Value()
		if (err != nil) != test.bad || got != test.want {
			t.Errorf("Duration(%q).Value() = %v, %v; want %v, error %v", test.in, got, err, test.want, test.bad)
		}
	}
	if got, err := Duration("").ValueOr(time.Minute); got != time.Minute || err != nil {
		t.Errorf("an omitted duration is %v, %v; want the fallback", got, err)
	}
}

func TestByteSizeValue(t *testing.T) {
	for _, test := range []struct {
		in   ByteSize
		want int64
		bad  bool
	}{
		{in: "1", want: 1},
		{in: "1Ki", want: 1 << 10},
		{in: "512Mi", want: 512 << 20},
		{in: "1Gi", want: 1 << 30},
		{in: "999999Ti", want: 999999 << 40},
		{in: "999999999999999999", want: 999999999999999999},
		{in: "", bad: true},
		{in: "0", bad: true},
		{in: "1G", bad: true},
		{in: "01Ki", bad: true},
		{in: "1000000Ki", bad: true},
		{in: "-1", bad: true},
		{in: "i", bad: true},
	} {
		got, err := test.in.Value()
		if (err != nil) != test.bad || got != test.want {
			t.Errorf("ByteSize(%q).Value() = %v, %v; want %v, error %v", test.in, got, err, test.want, test.bad)
		}
	}
	if got, err := ByteSize("").ValueOr(7); got != 7 || err != nil {
		t.Errorf("an omitted size is %v, %v; want the fallback", got, err)
	}
}

// TestPatternsAreTheSchemas holds that code and schema accept the same strings.
func TestPatternsAreTheSchemas(t *testing.T) {
	for file, pattern := range map[string]string{"duration.go": durationPattern, "bytesize.go": byteSizePattern} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if marker := "// +kubebuilder:validation:Pattern=`" + pattern + "`"; !strings.Contains(string(source), marker) {
			t.Errorf("%s has no marker with the pattern that its code uses", file)
		}
	}
}

func FuzzDurationValue(f *testing.F) {
	f.Add("1h30m")
	f.Add("99999h99999h99999h99999h")
	f.Add("1.5h")
	f.Fuzz(func(t *testing.T, in string) {
		got, err := Duration(in).Value()
		if accepted := regexp.MustCompile(durationPattern).MatchString(in); accepted != (err == nil) {
			t.Fatalf("%q: the schema accepts %v, Value returns %v", in, accepted, err)
		}
		if got < 0 {
			t.Fatalf("%q is %v", in, got)
		}
	})
}

func FuzzByteSizeValue(f *testing.F) {
	f.Add("1Gi")
	f.Add("999999Ti")
	f.Add("i")
	f.Fuzz(func(t *testing.T, in string) {
		got, err := ByteSize(in).Value()
		if accepted := regexp.MustCompile(byteSizePattern).MatchString(in); accepted != (err == nil) {
			t.Fatalf("%q: the schema accepts %v, Value returns %v", in, accepted, err)
		}
		if err == nil && got < 1 {
			t.Fatalf("%q is %d", in, got)
		}
	})
}
