package d6tpipe

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage/s3"
)

// Keys of the environment go to Amazon only, whatever a server says of endpoints
// and regions.
func TestAmazons(t *testing.T) {
	for _, o := range []s3.Options{
		{}, {Region: "eu-central-1"}, {Region: "us-gov-west-1"}, {Endpoint: "https://s3.amazonaws.com"}, {Endpoint: "https://S3.eu-west-1.amazonaws.com/"},
		{Endpoint: "https://s3-eu-west-1.amazonaws.com:443"}, {Endpoint: "https://s3.dualstack.us-east-2.amazonaws.com"},
		{Endpoint: "https://s3.cn-north-1.amazonaws.com.cn"}, {Endpoint: "https://s3-fips.us-gov-west-1.amazonaws.com"},
	} {
		require.True(t, amazons(o), o.String())
	}
	for _, o := range []s3.Options{
		{Endpoint: "https://s3.example.com"}, {Endpoint: "http://s3.amazonaws.com"}, {Endpoint: "https://s3.amazonaws.com.example.com"},
		{Endpoint: "https://lb-1.eu-west-1.elb.amazonaws.com"}, {Endpoint: "https://ec2-1-2-3-4.compute-1.amazonaws.com"},
		{Endpoint: "https://s3.lb-1.eu-west-1.elb.amazonaws.com"}, {Endpoint: "https://s3.amazonaws.com:8443"}, {Endpoint: "http://127.0.0.1:9000"},
		{Endpoint: "https://example.com/s3.amazonaws.com"}, {Endpoint: "https://s3.amazonaws.com@example.com"}, {Endpoint: "%zz"},
		{Region: "lb-1.eu-west-1.elb"}, {Region: "x@example.com/"}, {Region: "example.com#"}, {Region: "eu-west-1.amazonaws.com.example.com/"},
	} {
		require.False(t, amazons(o), o.String())
	}
}

// A program that connects by its own rules opens what others name: it has no keys for
// them, not at Amazon either.
func TestUsesLocalKeys(t *testing.T) {
	dial := (&net.Dialer{}).DialContext
	elsewhere := s3.Options{Endpoint: "https://s3.example.com"}
	require.True(t, usesLocalKeys(s3.Options{}, OpenOptions{}))
	require.False(t, usesLocalKeys(elsewhere, OpenOptions{}))
	require.False(t, usesLocalKeys(s3.Options{}, OpenOptions{Dial: dial}))
	require.False(t, usesLocalKeys(elsewhere, OpenOptions{Dial: dial}))
	require.True(t, usesLocalKeys(elsewhere, OpenOptions{Dial: dial, LocalKeys: true}))
}
