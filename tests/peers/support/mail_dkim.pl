# Verifies the message on standard input with Mail::DKIM: `dkim SELECTOR DOMAIN RESULT` for each signature and `arc RESULT`.
use strict;
use warnings;
use Mail::DKIM::ARC::Verifier;
use Mail::DKIM::DNS;
use Mail::DKIM::Verifier;
use Net::DNS::Resolver;

my $port = shift;
Mail::DKIM::DNS::resolver( Net::DNS::Resolver->new( nameservers => ['127.0.0.1'], port => $port, recurse => 0 ) );
binmode STDIN;
local $/ = undef;
my $message = <STDIN>;

my $dkim = Mail::DKIM::Verifier->new();
$dkim->PRINT($message);
$dkim->CLOSE;
print join( ' ', 'dkim', $_->selector // '?', $_->domain // '?', ( $_->result_detail // 'none' ) =~ s/\s+/ /gr ), "\n" for $dkim->signatures;

my $arc = Mail::DKIM::ARC::Verifier->new();
$arc->PRINT($message);
$arc->CLOSE;
print 'arc ', $arc->result_detail // $arc->result, "\n";
