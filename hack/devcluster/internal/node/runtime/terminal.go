package runtime

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Terminal is a pseudo terminal, of the host's, for a command to run on.
type Terminal struct {
	// File is the side of the one who types.
	File *os.File
	tty  *os.File
}

// OpenTerminal makes a terminal.
func OpenTerminal() (*Terminal, error) {
	file, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("open terminal: %w", err)
	}
	if err := unix.IoctlSetPointerInt(int(file.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		file.Close()
		return nil, fmt.Errorf("unlock terminal: %w", err)
	}
	number, err := unix.IoctlGetInt(int(file.Fd()), unix.TIOCGPTN)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("number of terminal: %w", err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("open terminal: %w", err)
	}
	return &Terminal{File: file, tty: tty}, nil
}

// Resize tells the programs on the terminal its size.
func (t *Terminal) Resize(width, height uint16) error {
	return unix.IoctlSetWinsize(int(t.File.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width})
}

// CloseTTY lets go of the program's side, so that reading File ends with the
// last program on it.
func (t *Terminal) CloseTTY() error { return t.tty.Close() }
