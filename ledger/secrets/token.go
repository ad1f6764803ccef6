package secrets

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// What local tokens say, and how far clocks may differ.
const (
	TokenIssuer   = "hookledger"
	TokenAudience = "hookledger-api"
	TokenLeeway   = 30 * time.Second
	// MaxTokenLife bounds a token: nothing revokes one.
	MaxTokenLife = 24 * time.Hour
)

// ErrToken means that the token is not one of ours, or not valid now.
var ErrToken = errors.New("the token is not valid")

// Claims are who a token speaks for.
type Claims struct {
	Subject string
	Account string
	Scopes  []string
	// IssuedAt and ExpiresAt are set by SignToken, to whole seconds.
	IssuedAt, ExpiresAt time.Time
}

// wireClaims are the claims as the token has them; scope as in RFC 8693.
type wireClaims struct {
	jwt.RegisteredClaims
	Account string `json:"account"`
	Scope   string `json:"scope"`
}

// SignToken makes a token that is good from now for life.
func (s *Set) SignToken(c Claims, now time.Time, life time.Duration) (Token, error) {
	switch {
	case c.Account == "" || c.Subject == "" || len(c.Scopes) == 0:
		return Token{}, errors.New("a token needs an account, a subject and a scope")
	case life < time.Second || life > MaxTokenLife:
		return Token{}, fmt.Errorf("a token lives from 1s to %v, not %v", MaxTokenLife, life)
	}
	t := jwt.NewWithClaims(jwt.SigningMethodHS256, wireClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: TokenIssuer, Audience: jwt.ClaimStrings{TokenAudience}, Subject: c.Subject,
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(life)),
		},
		Account: c.Account, Scope: strings.Join(c.Scopes, " "),
	})
	name := s.Current(Tokens)
	t.Header["kid"] = name
	text, err := t.SignedString(s.held().keys.Tokens.Keys[name])
	if err != nil {
		return Token{}, fmt.Errorf("sign the token: %w", err)
	}
	return Token{hide(text)}, nil
}

// VerifyToken reads a token at a time. Every failure is ErrToken, with a reason
// that does not show the token. The algorithm is ours to choose, not the token's.
func (s *Set) VerifyToken(text string, now time.Time) (Claims, error) {
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithIssuer(TokenIssuer), jwt.WithAudience(TokenAudience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(TokenLeeway),
		jwt.WithTimeFunc(func() time.Time { return now }), jwt.WithStrictDecoding(),
	)
	var c wireClaims
	_, err := parser.ParseWithClaims(text, &c, func(t *jwt.Token) (any, error) {
		name, ok := t.Header["kid"].(string)
		if !ok {
			return nil, errors.New("it names no key")
		}
		return s.key(Tokens, name)
	})
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return Claims{}, fmt.Errorf("%w: it has expired", ErrToken)
	case errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return Claims{}, fmt.Errorf("%w: it was issued in the future: compare the clocks", ErrToken)
	case errors.Is(err, jwt.ErrTokenInvalidAudience), errors.Is(err, jwt.ErrTokenInvalidIssuer):
		return Claims{}, fmt.Errorf("%w: it was issued by or for somebody else", ErrToken)
	case err != nil:
		return Claims{}, fmt.Errorf("%w: it is malformed or was signed with another key", ErrToken)
	case c.Account == "" || c.Subject == "" || c.IssuedAt == nil:
		return Claims{}, fmt.Errorf("%w: it names no account, subject or time of issue", ErrToken)
	}
	return Claims{
		Subject: c.Subject, Account: c.Account, Scopes: strings.Fields(c.Scope),
		IssuedAt: c.IssuedAt.Time, ExpiresAt: c.ExpiresAt.Time,
	}, nil
}
