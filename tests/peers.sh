#!/bin/sh
# Unpack the real peers that the integration tests and the benchmarks talk to from Debian's packages into .peers.
# Nothing is installed, started or configured outside this folder. Needs apt-get and dpkg-deb; without them, or without
# the packages, the tests that need a peer say so (and fail only where CI is set).
set -u
cd "$(dirname "$0")/.." || exit 1
packages="postfix swaks inetutils-telnet bsd-mailx msmtp libicu72 libdb5.3 libnsl2 libtirpc3 libsasl2-2 liblockfile1 libbsd0 libmd0 libgsasl18 libsecret-1-0 libidn12 libgssglue1 libntlm0 perl-base dovecot-core sasl2-bin libsasl2-modules libsasl2-modules-db opendkim opendkim-tools libopendkim11 libvbr2 librbl1 libmilter1.0.1 libopendbx1 libmemcached11 libhashkit2 liblua5.3-0 libldap-2.5-0 libunbound8 libevent-2.1-7 libhiredis0.14 libmail-dkim-perl libnet-ssleay-perl gsasl libcrypt-openssl-rsa-perl libcrypt-openssl-bignum-perl libcrypt-openssl-random-perl libcryptx-perl libnet-dns-perl libmail-authenticationresults-perl libmailtools-perl liberror-perl libclone-perl libjson-perl libtimedate-perl libdigest-hmac-perl perl-modules-5.36 libperl5.36 libnet-ssleay-perl libglib2.0-0 libffi8 libexttextcat-2.0-0 libstemmer0d libunwind8 libsodium23 libwrap0 libapparmor1 liblua5.4-0 nsd unbound libfstrm0 libprotobuf-c1 libpython3.11 libnghttp2-14 libmail-spf-perl libnetaddr-ip-perl liburi-perl libversion-perl libsys-hostname-long-perl postfix-policyd-spf-python python3-spf-engine python3-authres fail2ban pflogsumm libdate-calc-perl libdate-calc-xs-perl libcarp-clan-perl libbit-vector-perl"
stamp=.peers/.unpacked
wanted="$packages v1"
# A judge of DKIM signatures from another world; only where Node is.
if command -v npm >/dev/null && [ ! -d .peers/node/node_modules/mailauth ]; then
    mkdir -p .peers/node
    (cd .peers/node && npm install --no-audit --no-fund --ignore-scripts --omit=dev mailauth@4 >/dev/null 2>&1) ||
        echo "peers: could not fetch mailauth from npm; tests that need it will say so" >&2
fi
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && exit 0
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    echo "peers: no apt-get/dpkg-deb here; tests with real peers will be skipped" >&2
    exit 0
fi
mkdir -p .peers/deb .peers/root
failed=
for package in $packages; do
    if ! (cd .peers/deb && apt-get download -qq "$package" >/dev/null 2>&1); then
        if [ "$(id -u)" = 0 ] && [ -z "${updated:-}" ]; then
            apt-get update -qq >/dev/null 2>&1
            updated=yes
            (cd .peers/deb && apt-get download -qq "$package" >/dev/null 2>&1) && continue
        fi
        failed="$failed $package"
    fi
done
for deb in .peers/deb/*.deb; do
    [ -f "$deb" ] && dpkg-deb -x "$deb" .peers/root
done
if [ -n "$failed" ]; then
    echo "peers: could not fetch:$failed (try 'apt-get update'); tests that need them will say so" >&2
else
    echo "$wanted" >"$stamp"
fi
exit 0
