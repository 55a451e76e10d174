package gateway

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/s3err"
)

// iam tells the S3 server who a caller is and what he may do. There are no
// accounts: all of it is in the session token.
type iam struct {
	keys   keyring
	bucket string
}

var (
	_ auth.IAMService         = iam{}
	_ auth.SigningKeyProvider = iam{}
	_ auth.PolicyEvaluator    = iam{}
)

// caller opens a token. The error is one that the S3 server shows as it is.
func (i iam) caller(accessKey, token string) (secret string, a access, err error) {
	secret, bucket, g, err := i.keys.open(accessKey, token, time.Now())
	switch {
	case errors.Is(err, errExpired):
		return "", a, apiError(http.StatusBadRequest, "ExpiredToken", "The provided token has expired.")
	case err != nil || bucket != i.bucket:
		return "", a, auth.ErrInvalidSessionToken
	}
	if a, err = newAccess(g); err != nil { // only whole grants are minted
		return "", a, auth.ErrInvalidSessionToken
	}
	return secret, a, nil
}

// DeriveSigningKey is asked first, to check the signature of a request.
func (i iam) DeriveSigningKey(accessKey, token, date, region, service string) ([]byte, auth.Account, error) {
	secret, _, err := i.caller(accessKey, token)
	if err != nil {
		return nil, auth.Account{}, err
	}
	account := auth.Account{Access: accessKey, Role: auth.RoleUser, SessionToken: token, IsSession: true}
	return signingKey(secret, date, region, service), account, nil
}

// EvaluatePolicy decides what a request may do. Where it cannot know enough, such
// as for listings, the guard decides later.
func (i iam) EvaluatePolicy(accessKey, token string, actions []auth.Action, resources []string, _ map[string][]string) (auth.PolicyEvaluation, error) {
	eval := auth.PolicyEvaluation{PrincipalArn: accessKey}
	_, a, err := i.caller(accessKey, token)
	if err != nil {
		return eval, err
	}
	decide(&eval.Decisions, actions, resources, func(action auth.Action, resource string) bool {
		bucket, key, _ := strings.Cut(strings.TrimPrefix(resource, auth.ResourceArnPrefix), "/")
		return bucket == i.bucket && a.may(action, key)
	})
	return eval, nil
}

// decide fills in the matrix, whose elements have a type with no name outside of
// the S3 server: 1 allows, and 2 denies, whatever a bucket's policy says.
func decide[D ~int](matrix *[][]D, actions []auth.Action, resources []string, may func(action auth.Action, resource string) bool) {
	for _, resource := range resources {
		row := make([]D, len(actions))
		for j, action := range actions {
			if row[j] = 2; may(action, resource) {
				row[j] = 1
			}
		}
		*matrix = append(*matrix, row)
	}
}

// may is the one rule of what a grant allows. An empty key stands for the bucket.
func (a access) may(action auth.Action, key string) bool {
	if key == "" {
		switch action {
		case auth.ListBucketAction, auth.GetBucketLocationAction: // the guard checks the prefix of a listing
			return true
		case auth.ListBucketMultipartUploadsAction:
			return a.write
		}
		return false
	}
	if !a.sees(key) && !a.sees(key+"/") { // the S3 server drops the slash at the end of a key
		return false
	}
	switch action {
	case auth.GetObjectAction, auth.GetObjectAttributesAction, auth.GetObjectTaggingAction:
		return true
	case auth.PutObjectAction, auth.DeleteObjectAction, auth.AbortMultipartUploadAction, auth.ListMultipartUploadPartsAction, auth.PutObjectTaggingAction:
		return a.write
	}
	return false
}

// apiError is an error that the S3 server shows as it is.
func apiError(status int, code, text string) s3err.APIError {
	return s3err.APIError{Code: code, Description: text, HTTPStatusCode: status}
}

// GetUserAccount knows nobody.
func (iam) GetUserAccount(string) (auth.Account, error) { return auth.Account{}, auth.ErrNoSuchUser }

// ResolveAccounts knows nobody.
func (iam) ResolveAccounts(names []string) ([]string, error) { return names, nil }

// CreateAccount is refused, as is all that would change accounts.
func (iam) CreateAccount(auth.Account) error { return errNoAccounts() }

// UpdateUserAccount is refused.
func (iam) UpdateUserAccount(string, auth.MutableProps) error { return errNoAccounts() }

// DeleteUserAccount is refused.
func (iam) DeleteUserAccount(string) error { return errNoAccounts() }

// ListUserAccounts is refused.
func (iam) ListUserAccounts() ([]auth.Account, error) { return nil, errNoAccounts() }

// Shutdown has nothing to do.
func (iam) Shutdown() error { return nil }

func errNoAccounts() error { return s3err.GetAPIError(s3err.ErrAdminMethodNotSupported) }
