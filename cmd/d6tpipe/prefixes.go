package main

import (
	"fmt"
	"net/netip"
	"strings"
)

// prefixes is a flag that may be given several times, or once with commas: ranges
// of addresses such as 10.0.0.0/8, or single ones.
type prefixes []netip.Prefix

func (p *prefixes) String() string {
	var words []string
	for _, prefix := range *p {
		words = append(words, prefix.String())
	}
	return strings.Join(words, ",")
}

// Set adds to what is there.
func (p *prefixes) Set(value string) error {
	for word := range strings.SplitSeq(value, ",") {
		prefix, err := parsePrefix(strings.TrimSpace(word))
		if err != nil {
			return err
		}
		*p = append(*p, prefix)
	}
	return nil
}

// Type is what the help calls the value.
func (p *prefixes) Type() string { return "prefix" }

// parsePrefix refuses 10.0.0.1/8: it is unclear which half of it is meant.
func parsePrefix(word string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(word); err == nil && addr.Zone() == "" {
		return netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(word)
	switch {
	case err != nil:
		return prefix, fmt.Errorf("%q is no address and no range such as 10.0.0.0/8", word)
	case prefix != prefix.Masked():
		return prefix, fmt.Errorf("%s has bits behind its length; %s is a range", word, prefix.Masked())
	}
	return prefix, nil
}
