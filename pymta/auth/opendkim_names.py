"""The parameters of opendkim.conf(5): those that decide about signing, and those that cannot matter here."""

from __future__ import annotations

ACTED_ON = frozenset(
    (
        *("basedirectory", "canonicalization", "domain", "dontsignmailto", "exemptdomains", "internalhosts", "keyfile"),
        *("keytable", "minimumkeybits", "mode", "multiplesignatures", "omitheaders", "on-default", "on-internalerror"),
        *("on-signatureerror", "oversignheaders", "peerlist", "requiresafekeys", "selector", "senderheaders"),
        *("signaturealgorithm", "signaturettl", "signheaders", "signingtable", "subdomains"),
    )
)

# They would change which mail is signed, or how; the text says what to do instead.
NOT_ACTED_ON = {
    "bodylengthdb": "signatures cover the whole body (no l=)",
    "changerootdirectory": "write the names of files as they are outside of it",
    "finalpolicyscript": "there are no Lua scripts here",
    "fixcrlf": "stored content has CRLF line ends only",
    "identityheader": "write the identity into the SigningTable",
    "identityheaderremove": "write the identity into the SigningTable",
    "macrolist": "there are no macros here; authenticated clients are signed for without it",
    "maximumheaders": "a header of more than 1 MiB is not signed",
    "maximumsignedbytes": "signatures cover the whole body (no l=)",
    "mta": "use -o receive_override_options=no_milters for a service whose mail is not to be signed",
    "popdbfile": "POP before SMTP is not supported",
    "removeoldsignatures": "signatures that are there stay",
    "replaceheaders": "headers are signed as they are stored",
    "replacerules": "headers are signed as they are stored",
    "resignall": "mail that passes is not signed",
    "resignmailto": "mail that passes is not signed",
    "requestreports": "signatures ask for no reports",
    "screenpolicyscript": "there are no Lua scripts here",
    "selectcanonicalizationheader": "one canonicalization is for all mail",
    "sendermacro": "there are no macros here",
    "setuppolicyscript": "there are no Lua scripts here; use a KeyTable and a SigningTable",
    "strictheaders": "use restrictions of smtpd",
}

# Verification, logging, how the daemon runs: none of it is about signing.
OTHERS = frozenset(
    (
        *("adspaction", "allowsha1only", "alwaysaddarheader", "authservid", "authservidwithjobid", "autorestart"),
        *("autorestartcount", "autorestartrate", "background", "boguskey", "captureunknownerrors", "clockdrift"),
        *("diagnosticdirectory", "diagnostics", "disablecryptoinit", "dnsconnect", "dnstimeout", "domainkeyscompat"),
        *("enablecoredumps", "externalignorelist", "ignoremalformedmail", "keepauthresults", "keeptemporaryfiles"),
        *("ldapauthmechanism", "ldapauthname", "ldapauthrealm", "ldapauthuser", "ldapbindpassword", "ldapbinduser"),
        *("ldapdisablecache", "ldapkeepaliveidle", "ldapkeepaliveinterval", "ldapkeepaliveprobes", "ldaptimeout"),
        *("ldapusetls", "localadsp", "logresults", "logwhy", "maximumsignaturestoverify", "milterdebug", "minimum"),
        *("mtacommand", "mustbesigned", "nameservers", "noheaderb", "on-badsignature", "on-dnserror"),
        *("on-keynotfound", "on-nosignature", "on-policyerror", "on-security", "pidfile", "quarantine"),
        *("querycache", "redirectfailuresto", "removearall", "removearfrom", "reportaddress", "reportbccaddress"),
        *("requiredheaders", "resolverconfiguration", "resolvertracing", "sendadspreports", "sendreports", "smtpuri"),
        *("socket", "softstart", "softwareheader", "statistics", "statisticsname", "statisticspolicyscript"),
        *("statisticsprefix", "anonymousstatistics", "stricttestmode", "syslog", "syslogfacility", "syslogname"),
        *("syslogsuccess", "temporarydirectory", "testdnsdata", "testpublickeys", "trustanchorfile"),
        *("trustsignaturesfrom", "umask", "unprotectedkey", "userid", "vbr-certifiers", "vbr-purgefields"),
        *("vbr-trustedcertifiers", "vbr-trustedcertifiersonly", "vbr-type", "weaksyntaxchecks", "x-header"),
    )
)
