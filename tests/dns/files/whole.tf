# For the provider hashicorp/dns, whose block `update` names the server and the TSIG key.
# Each resource is everything at its name and type: add what else stands there, or it is removed.

resource "dns_mx_record_set" "mx_b_example_com" {
  zone = "example.com."
  name = "b"
  mx {
    preference = 10
    exchange   = "mx1.example.com."
  }
  mx {
    preference = 20
    exchange   = "mx2.example.com."
  }
  ttl = 3600
}

resource "dns_txt_record_set" "txt_b_example_com" {
  zone = "example.com."
  name = "b"
  txt = ["v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 ip4:192.0.2.26 -all"]
  ttl = 3600
}

resource "dns_a_record_set" "a_mx1_example_com" {
  zone = "example.com."
  name = "mx1"
  addresses = ["192.0.2.25"]
  ttl = 3600
}

resource "dns_aaaa_record_set" "aaaa_mx1_example_com" {
  zone = "example.com."
  name = "mx1"
  addresses = ["2001:db8::25"]
  ttl = 3600
}

# advised
resource "dns_txt_record_set" "txt_mx1_example_com" {
  zone = "example.com."
  name = "mx1"
  txt = ["v=spf1 a -all"]
  ttl = 3600
}

resource "dns_ptr_record" "ptr_25_2_0_192_in-addr_arpa" {
  zone = "2.0.192.in-addr.arpa." # a guess: the zone that the name lies in
  name = "25"
  ptr = "mx1.example.com."
  ttl = 3600
}

resource "dns_ptr_record" "ptr_5_2_0_0_0_0_0_0_0_0_0_0_0_0_0_0_0_0_0_0_0_0_0_0_8_b_d_0_1_0_0_2_ip6_arpa" {
  zone = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa." # a guess: the zone that the name lies in
  name = "5"
  ptr = "mx1.example.com."
  ttl = 3600
}

resource "dns_a_record_set" "a_bulk_example_com" {
  zone = "example.com."
  name = "bulk"
  addresses = ["192.0.2.26"]
  ttl = 3600
}

# advised
resource "dns_txt_record_set" "txt_bulk_example_com" {
  zone = "example.com."
  name = "bulk"
  txt = ["v=spf1 a -all"]
  ttl = 3600
}

resource "dns_ptr_record" "ptr_26_2_0_192_in-addr_arpa" {
  zone = "2.0.192.in-addr.arpa." # a guess: the zone that the name lies in
  name = "26"
  ptr = "bulk.example.com."
  ttl = 3600
}

resource "dns_txt_record_set" "txt_ps202611a__domainkey_example_com" {
  zone = "example.com."
  name = "ps202611a._domainkey"
  txt = ["v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA1234567890abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefghijklmnopqrstuvwxyz0123456789IDAQAB"]
  ttl = 3600
}

resource "dns_txt_record_set" "txt__dmarc_example_com" {
  zone = "example.com."
  name = "_dmarc"
  txt = ["v=DMARC1; p=reject; rua=mailto:dmarc@example.com"]
  ttl = 3600
}

# optional
resource "dns_txt_record_set" "txt__smtp__tls_b_example_com" {
  zone = "example.com."
  name = "_smtp._tls.b"
  txt = ["v=TLSRPTv1; rua=mailto:tls@example.com"]
  ttl = 3600
}

# optional
resource "dns_txt_record_set" "txt__mta-sts_b_example_com" {
  zone = "example.com."
  name = "_mta-sts.b"
  txt = ["v=STSv1; id=20261122;"]
  ttl = 3600
}

# optional
resource "dns_cname_record" "cname_mta-sts_b_example_com" {
  zone = "example.com."
  name = "mta-sts.b"
  cname = "www.example.com."
  ttl = 3600
}

# optional
resource "dns_txt_record_set" "txt_default__bimi_example_com" {
  zone = "example.com."
  name = "default._bimi"
  txt = ["v=BIMI1; l=https://example.com/logo.svg; a=https://example.com/vmc.pem;"]
  ttl = 3600
}
