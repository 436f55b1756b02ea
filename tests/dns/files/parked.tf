# For the provider hashicorp/dns, whose block `update` names the server and the TSIG key.
# Each resource is everything at its name and type: add what else stands there, or it is removed.

resource "dns_txt_record_set" "txt_parked_example" {
  zone = "parked.example."
  txt = ["v=spf1 -all"]
  ttl = 3600
}

# advised
resource "dns_txt_record_set" "txt___parked_example" {
  zone = "parked.example."
  name = "*"
  txt = ["v=spf1 -all"]
  ttl = 3600
}

# advised
resource "dns_txt_record_set" "txt____domainkey_parked_example" {
  zone = "parked.example."
  name = "*._domainkey"
  txt = ["v=DKIM1; p="]
  ttl = 3600
}

resource "dns_txt_record_set" "txt__dmarc_parked_example" {
  zone = "parked.example."
  name = "_dmarc"
  txt = ["v=DMARC1; p=reject; sp=reject; np=reject; adkim=s; aspf=s; rua=mailto:dmarc@example.com"]
  ttl = 3600
}

# optional
resource "dns_txt_record_set" "txt_default__bimi_parked_example" {
  zone = "parked.example."
  name = "default._bimi"
  txt = ["v=BIMI1; l=; a=;"]
  ttl = 3600
}

# advised
resource "dns_mx_record_set" "mx_parked_example" {
  zone = "parked.example."
  mx {
    preference = 0
    exchange   = "."
  }
  ttl = 3600
}

# advised
resource "dns_txt_record_set" "txt_parked_example__report__dmarc_example_com" {
  zone = "example._report._dmarc.example.com." # a guess: the zone that the name lies in
  name = "parked"
  txt = ["v=DMARC1;"]
  ttl = 3600
}
