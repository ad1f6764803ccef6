package engine

import (
	"net/http"
	"regexp"
	"strconv"
)

// Exception is an error as ClickHouse says it. Its text begins with
// "Code: N. DB::Exception:", which is where clients read the code from.
type Exception struct{ Message string }

func (e *Exception) Error() string { return e.Message }

var exceptionCode = regexp.MustCompile(`^(?:Error: )?Code: (\d+)\.`)

// Code is ClickHouse's number for the error.
func (e *Exception) Code() int {
	if m := exceptionCode.FindStringSubmatch(e.Message); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			return n
		}
	}
	return codeUnknown
}

// The codes that this package itself answers with, from ClickHouse's list.
const (
	codeNotImplemented  = 48
	codeUnknownSetting  = 115
	codeSyntax          = 62
	codeReadonly        = 164
	codeTooManyQueries  = 202
	codeAuthentication  = 516
	codeQueryTooLarge   = 307 // TOO_MANY_BYTES
	codeUnknown         = 1002
	codeQueryCancelled  = 394
	codeBadArguments    = 36
	codeUnexpectedInput = 27 // CANNOT_PARSE_INPUT_ASSERTION_FAILED
	codeNoHandler       = 1000
)

func refuse(code int, name, message string) *Exception {
	return &Exception{Message: "Code: " + strconv.Itoa(code) + ". DB::Exception: " + message + ". (" + name + ")"}
}

// status is the HTTP status that ClickHouse's own server gives a code. Clients
// read the code; the status only has to be right in kind.
func (e *Exception) status() int {
	switch e.Code() {
	case codeAuthentication, codeReadonly, 497 /* ACCESS_DENIED */ :
		return http.StatusForbidden
	case codeSyntax, codeBadArguments, codeUnknownSetting, codeUnexpectedInput, 6, 26, 38, 41, 47, 53, 70, 72, 456, 457:
		return http.StatusBadRequest
	case codeNoHandler, 60 /* UNKNOWN_TABLE */, 81 /* UNKNOWN_DATABASE */, 46 /* UNKNOWN_FUNCTION */, 63, 50, 73:
		return http.StatusNotFound
	case codeNotImplemented:
		return http.StatusNotImplemented
	case codeTooManyQueries:
		return http.StatusServiceUnavailable
	case codeQueryTooLarge:
		return http.StatusRequestEntityTooLarge
	case 159 /* TIMEOUT_EXCEEDED */ :
		return http.StatusRequestTimeout
	}
	return http.StatusInternalServerError
}
