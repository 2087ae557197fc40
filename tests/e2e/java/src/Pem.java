import java.io.FileReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.io.FileWriter;
import java.io.IOException;
import java.security.KeyPair;
import java.security.PrivateKey;
import java.security.PublicKey;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.List;
import org.bouncycastle.asn1.pkcs.PrivateKeyInfo;
import org.bouncycastle.asn1.x509.SubjectPublicKeyInfo;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.jcajce.JcaX509CertificateConverter;
import org.bouncycastle.openssl.PEMKeyPair;
import org.bouncycastle.openssl.PEMParser;
import org.bouncycastle.openssl.jcajce.JcaPEMKeyConverter;
import org.bouncycastle.openssl.jcajce.JcaPEMWriter;

/** Keys and certificates in files, as the tests hand them over. */
final class Pem {
    private Pem() {}

    static byte[] bytes(String path) throws IOException {
        return Files.readAllBytes(Path.of(path));
    }

    static PrivateKey key(String path) throws Exception {
        try (PEMParser in = new PEMParser(new FileReader(path))) {
            Object o = in.readObject();
            PrivateKeyInfo info = o instanceof PEMKeyPair ? ((PEMKeyPair) o).getPrivateKeyInfo() : (PrivateKeyInfo) o;
            return new JcaPEMKeyConverter().setProvider("BC").getPrivateKey(info);
        }
    }

    /** A key that is to be certified: beside PATH is PATH.pub. */
    static KeyPair pair(String path) throws Exception {
        try (PEMParser in = new PEMParser(new FileReader(path + ".pub"))) {
            PublicKey half = new JcaPEMKeyConverter().setProvider("BC").getPublicKey((SubjectPublicKeyInfo) in.readObject());
            return new KeyPair(half, key(path));
        }
    }

    static List<X509Certificate> certs(String path) throws Exception {
        List<X509Certificate> all = new ArrayList<>();
        try (PEMParser in = new PEMParser(new FileReader(path))) {
            for (Object o = in.readObject(); o != null; o = in.readObject())
                all.add(new JcaX509CertificateConverter().getCertificate((X509CertificateHolder) o));
        }
        return all;
    }

    static void write(String path, Object... things) throws IOException {
        try (JcaPEMWriter out = new JcaPEMWriter(new FileWriter(path))) {
            for (Object one : things)
                out.writeObject(one);
        }
    }
}
