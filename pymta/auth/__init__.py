"""Who may say that mail is theirs: DKIM keys, signatures and their verification, SPF, Authentication-Results."""
