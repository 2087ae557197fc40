import com.siemens.pki.cmpclientcomponent.configuration.ClientContext;
import com.siemens.pki.cmpclientcomponent.configuration.EnrollmentContext;
import com.siemens.pki.cmpclientcomponent.configuration.RevocationContext;
import com.siemens.pki.cmpclientcomponent.main.CmpClient;
import com.siemens.pki.cmpracomponent.configuration.CmpMessageInterface;
import com.siemens.pki.cmpracomponent.configuration.CredentialContext;
import com.siemens.pki.cmpracomponent.configuration.GetRootCaCertificateUpdateHandler.RootCaCertificateUpdateResponse;
import com.siemens.pki.cmpracomponent.configuration.VerificationContext;
import com.siemens.pki.cmpracomponent.cryptoservices.CmsDecryptor;
import com.siemens.pki.cmpracomponent.cryptoservices.DataSignVerifier;
import java.math.BigInteger;
import java.security.KeyPair;
import java.security.cert.X509CRL;
import java.security.cert.X509Certificate;
import java.util.Date;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import org.bouncycastle.asn1.ASN1Sequence;
import org.bouncycastle.asn1.cmp.CertRepMessage;
import org.bouncycastle.asn1.cmp.CertifiedKeyPair;
import org.bouncycastle.asn1.cmp.PKIBody;
import org.bouncycastle.asn1.cms.EnvelopedData;
import org.bouncycastle.asn1.pkcs.PrivateKeyInfo;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.openssl.jcajce.JcaPEMKeyConverter;

/** The client of Siemens' CMP component (RFC 9483), one operation for each line. */
final class Siemens implements ClientContext, EnrollmentContext, RevocationContext {
    private static final Map<String, Integer> TYPES = Map.of("ir", PKIBody.TYPE_INIT_REQ, "cr", PKIBody.TYPE_CERT_REQ, "kur",
            PKIBody.TYPE_KEY_UPDATE_REQ, "p10cr", PKIBody.TYPE_P10_CERT_REQ);

    private final Asked in;
    private final Post post;
    private final VerificationContext trust;
    private final KeyPair pair;
    private final byte[] csr;
    private final X509Certificate old;

    Siemens(Asked in, Post post) throws Exception {
        this.in = in;
        this.post = post;
        trust = Party.trust(Pem.certs(in.need("anchors")), in.get("secret"));
        pair = in.has("new") ? Pem.pair(in.get("new")) : null;
        csr = in.has("csr") ? Pem.bytes(in.get("csr")) : null;
        old = in.has("old") ? Pem.certs(in.get("old")).get(0) : null;
    }

    private CmpClient client() throws Exception {
        CredentialContext speaks = in.has("secret")
                ? Party.secret(in.need("reference"), in.get("secret"), in.need("mac"), in.number("bits", 512))
                : Party.signer(in.need("key"), in.need("cert"));
        return new CmpClient(in.get("profile"), post,
                Party.side(speaks, trust, in.has("ra_key") ? Party.around(Party.signer(in.get("ra_key"), in.need("ra_cert")), trust) : null,
                        CmpMessageInterface.ReprotectMode.reprotect), this);
    }

    String run() throws Exception {
        String op = in.need("op");
        if (TYPES.containsKey(op))
            return enrol(client().invokeEnrollment());
        switch (op) {
            case "rr":
                return "revoked=" + (client().invokeRevocation() ? "yes" : "no");
            case "keygen":
                return keygen(client().invokeEnrollment());
            case "cacerts":
                List<X509Certificate> certs = client().getCaCertificates();
                Pem.write(in.need("out"), certs.toArray());
                return "n=" + certs.size();
            case "template":
                return "template=" + HexFormat.of().formatHex(client().getCertificateRequestTemplate());
            case "root":
                return root(client().getRootCaCertificateUpdate(old));
            case "crl":
                return crl(client().getCrls(null, null, new String[] {in.need("issuer")}, new Date(1000L * in.number("since", 0))));
            default:
                throw new IllegalArgumentException("no such operation");
        }
    }

    private String enrol(CmpClient.EnrollmentResult made) throws Exception {
        if (made == null)
            throw new IllegalStateException("no certificate");
        Pem.write(in.need("out"), made.getEnrolledCertificate());
        return "chain=" + made.getEnrollmentChain().size();
    }

    /**
     * A certificate with a key that was made for it. Version 4.1.4 opens and verifies the package, and then takes it for a PKCS#8 key, where RFC 9483
     * section 4.1.6 has an AsymmetricKeyPackage around that; so it ends without a certificate, and its classes are asked once more, up to there.
     */
    private String keygen(CmpClient.EnrollmentResult made) throws Exception {
        if (made != null)
            throw new IllegalStateException("it can take a key by now");
        CertifiedKeyPair pair = ((CertRepMessage) post.last.getBody().getContent()).getResponse()[0].getCertifiedKeyPair();
        CmsDecryptor opens = in.has("secret") ? new CmsDecryptor(null, null, in.get("secret").toCharArray())
                : new CmsDecryptor(Pem.certs(in.need("cert")).get(0), Pem.key(in.need("key")), null);
        byte[] signed = opens.decrypt(EnvelopedData.getInstance(pair.getPrivateKey().getValue()));
        byte[] keys = new DataSignVerifier(trust, "test").verifySignatureAndTrust(signed);
        PrivateKeyInfo key = PrivateKeyInfo.getInstance(ASN1Sequence.getInstance(keys).getObjectAt(0));
        Pem.write(in.need("out"), new X509CertificateHolder(pair.getCertOrEncCert().getCertificate().getX509v3PKCert()));
        Pem.write(in.need("keyout"), new JcaPEMKeyConverter().setProvider("BC").getPrivateKey(key));
        return "n=" + ASN1Sequence.getInstance(keys).size();
    }

    private String root(RootCaCertificateUpdateResponse r) throws Exception {
        if (r == null)
            return "n=0";
        Pem.write(in.need("out"), r.getNewWithNew(), r.getNewWithOld(), r.getOldWithNew());
        return "n=3";
    }

    private String crl(List<X509CRL> crls) throws Exception {
        if (crls == null)
            return "n=0";
        Pem.write(in.need("out"), crls.toArray());
        return "n=" + crls.size();
    }

    // --- what the library asks for
    @Override
    public EnrollmentContext getEnrollmentContext() {
        return this;
    }

    @Override
    public RevocationContext getRevocationContext() {
        return this;
    }

    @Override
    public KeyPair getCertificateKeypair() {
        return pair;
    }

    @Override
    public byte[] getCertificationRequest() {
        return csr;
    }

    @Override
    public VerificationContext getEnrollmentTrust() {
        return trust;
    }

    @Override
    public int getEnrollmentType() {
        return TYPES.getOrDefault(in.get("op"), PKIBody.TYPE_INIT_REQ);
    }

    @Override
    public List<TemplateExtension> getExtensions() {
        return null;
    }

    @Override
    public X509Certificate getOldCert() {
        return old;
    }

    @Override
    public boolean getRequestImplictConfirm() {
        return in.yes("implicit");
    }

    @Override
    public String getSubject() {
        return in.get("subject");
    }

    @Override
    public String getIssuer() {
        return in.need("issuer");
    }

    @Override
    public int getRevocationReason() {
        return in.number("reason", 0);
    }

    @Override
    public BigInteger getSerialNumber() {
        return new BigInteger(in.need("serial"), 16);
    }
}
