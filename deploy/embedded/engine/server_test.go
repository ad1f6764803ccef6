package engine

import (
	"context"
	"errors"
	"testing"
)

// TestSlots: as many run as may, as many wait as may, and the next is told so.
func TestSlots(t *testing.T) {
	s := newSlots(1, 1)
	release, err := s.acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	waiting, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := s.acquire(waiting)
		ended <- err
	}()
	for len(s.waiting) < 2 {
		// Until the other waits; it can't go anywhere else.
		select {
		case err := <-ended:
			t.Fatal(err)
		default:
		}
	}
	var ex *Exception
	if _, err := s.acquire(t.Context()); !errors.As(err, &ex) || ex.Code() != codeTooManyQueries {
		t.Fatalf("the third: %v", err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	release()
	release, err = s.acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	release()
	if len(s.running)+len(s.waiting) != 0 {
		t.Fatal("a place was not given back")
	}
}

func TestExceptionCode(t *testing.T) {
	for message, want := range map[string]int{
		"Code: 60. DB::Exception: Code: 60. DB::Exception: Unknown table. (UNKNOWN_TABLE)": 60,
		"Error: Code: 27. DB::ParsingException: x":                                         27,
		"Invalid or closed connection":                                                     codeUnknown,
		"":                                                                                 codeUnknown,
		"Code: 99999999999999999999. x":                                                    codeUnknown,
	} {
		if got := (&Exception{Message: message}).Code(); got != want {
			t.Errorf("%q: %d", message, got)
		}
	}
}
